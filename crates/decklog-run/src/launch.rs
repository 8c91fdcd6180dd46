//! How a turn's agent is started: on the host, or in the session's container.
//!
//! Must not know: journals, what comes back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::agents::{Adapter, Launch, TurnRequest};
use crate::supervise::CommandSpec;
use crate::turn::TurnPlan;

/// Bytes of a prompt that go to an agent directly. Codex takes a million characters, the others about as much.
const MAX_PROMPT: usize = 900_000;

/// An agent, ready to be started.
pub(crate) struct Prepared {
    /// What it is asked, as it can take it.
    pub(crate) request: TurnRequest,
    /// Program and arguments as the agent knows them.
    pub(crate) command: Vec<OsString>,
    /// What is started on the host; an error in words for people when it must not be.
    pub(crate) spec: Result<CommandSpec, String>,
    /// What goes to its stdin at once.
    pub(crate) stdin: Vec<u8>,
    /// Whether that stays open.
    pub(crate) keep_stdin: bool,
}

/// Makes the agent of `plan` ready. `prompt_file`: where its prompt stands.
pub(crate) fn prepare(plan: &TurnPlan<'_>, adapter: &dyn Adapter, prompt_file: &Path) -> Prepared {
    let (request, placed) = sendable(plan, adapter.is_text(), prompt_file);
    let Launch { command, env: own, stdin, keep_stdin } = adapter.launch(&request);
    let own: Vec<(String, String)> = plan.agent.env.iter().cloned().chain(own).collect();
    let started = placed.and_then(|()| may_start(plan, adapter)).and_then(|()| match &plan.inside {
        Some(inside) => {
            let entering = inside.enter(Some(&plan.agent.name), &command, &own).map_err(|error| error.to_string())?;
            Ok((entering.words, entering.env, Some(entering.variables)))
        }
        None => {
            let mut env = plan.env.clone();
            for (name, value) in &own {
                env.retain(|(known, _)| known.as_os_str() != std::ffi::OsStr::new(name));
                env.push((name.into(), value.into()));
            }
            Ok((command.clone(), env, None))
        }
    });
    let spec = started.map(|(words, env, inherited)| {
        let mut words = words.into_iter();
        CommandSpec {
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
            env,
            working_dir: plan.working_dir.clone(),
            reaper: plan.reaper.clone(),
            inherited,
        }
    });
    Prepared { request, command, spec, stdin, keep_stdin }
}

/// Refuses what would work on the host, where nobody wants it to, or in the container without what it needs.
fn may_start(plan: &TurnPlan<'_>, adapter: &dyn Adapter) -> Result<(), String> {
    let name = &plan.agent.name;
    if plan.inside.as_ref().is_some_and(|inside| !inside.knows(name)) {
        return Err(format!("the container was not made for {name}: begin a session with it, or name it with --then"));
    }
    if !plan.request.mcp.is_empty() && !adapter.takes_tools() {
        return Err(format!("{name} takes no tools from a container: name another agent, or --image none"));
    }
    Ok(())
}

/// The request as the agent can take it: a prompt longer than agents take stands in a file it is pointed to. An error in
/// words when it cannot be put there.
fn sendable(plan: &TurnPlan<'_>, is_text: bool, prompt_file: &Path) -> (TurnRequest, Result<(), String>) {
    let mut request = plan.request.clone();
    if is_text || request.prompt.len() <= MAX_PROMPT {
        return (request, Ok(()));
    }
    let place = match &plan.inside {
        Some(inside) => inside.leave_note("prompt.md", &request.prompt).map_err(|error| error.to_string()),
        None => Ok(prompt_file.to_owned()),
    };
    match place {
        Err(error) => (request, Err(error)),
        Ok(file) => {
            request.prompt = format!(
                "Your task is too long for one message. It stands in the file {} ({} bytes). Read all of it, in parts if need be, then do what it says.",
                file.display(),
                request.prompt.len()
            );
            request.prompt_dir = file.parent().map(PathBuf::from);
            (request, Ok(()))
        }
    }
}
