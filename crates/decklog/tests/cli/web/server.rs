//! `decklog ui`, running.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout};

use super::client::Client;
use crate::env::{Ran, TestEnv, kill};

/// A server, until it is stopped or the test is over.
pub(crate) struct Ui {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it printed: where to go, with the token.
    pub(crate) link: String,
    pub(crate) port: u16,
}

impl Ui {
    pub(crate) fn start(env: &TestEnv) -> Self {
        Self::start_with(env, &[])
    }

    pub(crate) fn start_with(env: &TestEnv, more: &[&str]) -> Self {
        Self::started(env.start(&[&["ui", "--no-open"], more].concat()))
    }

    /// One that was started as the test likes.
    pub(crate) fn started(mut child: Child) -> Self {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut link = String::new();
        stdout.read_line(&mut link).unwrap();
        let link = link.trim_end().to_owned();
        let Some((_, rest)) = link.split_once("http://127.0.0.1:") else {
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("no link: {link}{stderr}");
        };
        let port = rest.split('/').next().unwrap().parse().unwrap();
        Self { child, stdout, link, port }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The link without the name of the server.
    pub(crate) fn target(&self) -> &str {
        &self.link[self.link.match_indices('/').nth(2).unwrap().0..]
    }

    pub(crate) fn token(&self) -> &str {
        self.link.rsplit_once('=').unwrap().1
    }

    /// Somebody without a cookie.
    pub(crate) fn stranger(&self) -> Client {
        Client { port: self.port, cookie: None }
    }

    /// Somebody who opened the link.
    pub(crate) fn client(&self) -> Client {
        let answer = self.stranger().get(self.target()).expect(200);
        let cookie = answer.headers.get("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        Client { port: self.port, cookie: Some(cookie) }
    }

    /// Stops it with a signal, and gives what it printed since the link.
    pub(crate) fn stop(mut self, signal: &str) -> Ran {
        kill(self.child.id(), signal);
        let status = self.child.wait().unwrap();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.stdout.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ran { code: status.code().unwrap_or(-1), stdout, stderr }
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server for these sessions, and somebody who is let in.
pub(crate) fn serve(env: &TestEnv) -> (Ui, Client) {
    let ui = Ui::start(env);
    let client = ui.client();
    (ui, client)
}
