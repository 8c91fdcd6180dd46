//! What the user is told when something does not work: what, and what to do next.

use std::fmt::Display;
use std::io::Write as _;

use decklog_run::orchestrate::RunError;
use decklog_sandbox::image::ImageError;
use decklog_text::visible_lines;

use crate::render::Paint;

/// An error for people, with the exit code it leads to.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) exit_code: i32,
}

/// What every command returns: an exit code, or an error.
pub(crate) type CliResult = Result<i32, CliError>;

impl CliError {
    /// Something failed, or was asked for badly: exit code 2.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), hint: None, exit_code: 2 }
    }

    /// The user knows: they ended it. Nothing is said.
    pub(crate) fn silent(exit_code: i32) -> Self {
        Self { message: String::new(), hint: None, exit_code }
    }

    /// Writes it to stderr: as one line of JSON where the result is JSON.
    pub(crate) fn report(&self, json: bool, paint: Paint) {
        if self.message.is_empty() {
            return;
        }
        let mut err = std::io::stderr().lock();
        if json {
            let value = serde_json::json!({ "error": self.message, "hint": self.hint });
            let _ = writeln!(err, "{value}");
            return;
        }
        let _ = writeln!(err, "{} {}", paint.bad("error:"), visible_lines(&self.message));
        if let Some(hint) = &self.hint {
            let _ = writeln!(err, "{} {}", paint.dim(" hint:"), visible_lines(hint));
        }
    }

    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl<E: std::error::Error + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        let error: Box<dyn std::error::Error> = Box::new(error);
        let told = Self::new(&error);
        match error.downcast_ref::<ImageError>() {
            Some(ImageError::NotMade { name, .. }) => {
                return told.hint(format!("decklog build --image {name} tries again, once that is mended"));
            }
            Some(ImageError::Read { name, .. }) => {
                return told.hint(format!("[images.{name}] of the configuration says where its files are"));
            }
            _ => {}
        }
        match error.downcast_ref::<RunError>() {
            Some(RunError::Stopped { exit_code, .. }) => Self { exit_code: *exit_code, ..told },
            Some(RunError::Sandbox { id, .. }) => {
                told.hint(format!("what podman was asked and said: decklog logs {id} container"))
            }
            _ => told,
        }
    }
}
