//! Who is asked what, and where: what `run` and its kin read from arguments, configuration and stdin before anything begins.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use decklog_journal::lock::{self, Held};
use decklog_journal::store::Place;
use decklog_journal::words::Permissions;
use decklog_journal::{SessionId, SessionStore};
use decklog_run::agents::AgentDefinition;
use decklog_run::orchestrate::{Candidate, Limited, Party, Relay, Setup};
use decklog_snapshot::ScratchDir;
use decklog_text::format::time;
use decklog_text::visible;

use crate::config::Config;
use crate::context::{Context, find_program};
use crate::error::CliError;

/// The agents' environment, with `more` set in it.
pub(crate) fn environment(more: &[(OsString, OsString)], context: &Context) -> Vec<(OsString, OsString)> {
    let mut env = context.environment();
    for (name, value) in more {
        env.retain(|(known, _)| known != name);
        env.push((name.clone(), value.clone()));
    }
    env
}

/// Where and how agents are to work. Checks of the configuration come before `checks`.
pub(crate) fn setup(
    permissions: Option<Permissions>,
    checks: Vec<String>,
    session_dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    config: &Config,
    context: &Context,
) -> Result<Setup, CliError> {
    ScratchDir::sweep();
    // What a killed race left is put into its record and removed; that this fails stops nothing.
    if let Err(error) = crate::commands::race::clear_away(context) {
        context.warn(&error.message);
    }
    Ok(Setup {
        permissions: permissions.unwrap_or(config.permissions.value),
        working_dir: context.cwd.clone(),
        checks: config.checks.value.iter().cloned().chain(checks).collect(),
        timeout: config.timeout.as_ref().map(|set| set.value),
        stall_timeout: config.stall_timeout.as_ref().map(|set| set.value),
        env,
        secrets: config.models.variables(),
        place: place(session_dir, context)?,
        // Still this program when the file it was started from has been replaced.
        reaper: PathBuf::from("/proc/self/exe"),
        host: context.host(),
        durability: config.durability.value,
        clock: context.clock.clone(),
        id_suffix: context.id_suffix,
        asks: false,
        as_root: rustix::process::geteuid().is_root(),
        sandbox: None,
    })
}

/// Where the session directory is to be.
fn place(session_dir: Option<PathBuf>, context: &Context) -> Result<Place, CliError> {
    let Some(dir) = session_dir else { return Ok(Place::Auto) };
    let dir = context.cwd.join(dir);
    // The agent would work in, and be recorded into, one and the same directory.
    if dir.canonicalize().is_ok_and(|dir| context.cwd.starts_with(dir)) {
        return Err(CliError::new("--session-dir must not be the working directory, or above it")
            .hint("give a directory of its own, such as --session-dir /tmp/my-run"));
    }
    Ok(Place::Dir(dir))
}

/// Who goes on for an agent that is limited, as every verb that asks agents takes it.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Relaying {
    /// Who goes on when an agent is rate-limited, in order, or none (default: the configured order)
    #[arg(long, value_name = "AGENTS", value_delimiter = ',')]
    pub(crate) then: Vec<String>,
    /// When all are rate-limited, wait for the first one back
    #[arg(long)]
    pub(crate) wait: bool,
}

impl Relaying {
    /// Who that is: those that are installed. Who is not, or is limited for now, is told.
    pub(crate) fn resolve(
        &self,
        config: &Config,
        programs: Programs<'_>,
        context: &Context,
    ) -> Result<Relay, CliError> {
        let names = match self.then.as_slice() {
            [none] if none == "none" => &[],
            [] => config.then.value.as_slice(),
            given => given,
        };
        let mut relay = Relay { others: Vec::new(), wait: self.wait };
        if names.is_empty() {
            return Ok(relay);
        }
        let (ledger, now) = (context.ledger()?, context.clock.now());
        for name in names {
            let (agent_name, _) = split_model(name, config);
            if config.agent(agent_name).is_none() {
                return Err(unknown(agent_name, config));
            }
            let limited_until = ledger.until(agent_name, now);
            match party(name, config, programs) {
                Err(error) => context.say(format!("{name} is left out: {}", error.message)),
                Ok(party) => {
                    if let Some(until) = limited_until {
                        let until = time(until, &context.zone);
                        context.say(format!("{name} is passed over for now: limited until {until}"));
                    }
                    relay.others.push(Candidate { party, limited_until });
                }
            }
        }
        Ok(relay)
    }
}

/// An agent's name, and the model after a colon: `claude:opus`.
pub(crate) fn split_model<'a>(text: &'a str, config: &Config) -> (&'a str, Option<&'a str>) {
    match text.split_once(':') {
        Some((name, model)) if config.agent(text).is_none() && !model.is_empty() => (name, Some(model)),
        _ => (text, None),
    }
}

/// The agent, with the model, that `text` names.
pub(crate) fn party(text: &str, config: &Config, programs: Programs<'_>) -> Result<Party, CliError> {
    let (name, model) = split_model(text, config);
    with_model(agent(Some(name), config, programs)?, model.map(str::to_owned))
}

/// The agent with the model wanted of it, which the built-in one must know.
pub(crate) fn with_model(agent: AgentDefinition, model: Option<String>) -> Result<Party, CliError> {
    if let Some(setup) = &agent.builtin {
        setup.choose(model.as_deref()).map_err(CliError::new)?;
    }
    Ok(Party { agent, model })
}

/// Notes what was learned of agents' limits: who met one, and who did not.
pub(crate) fn note_limits(limited: &[Limited], well: Option<&str>, context: &Context) {
    let noted = context.ledger().and_then(|mut ledger| ledger.note(limited, well, context.clock.now()));
    if let Err(error) = noted {
        context.warn(&format!("agents' limits could not be noted: {}", error.message));
    }
}

/// Says how a session that waits for a limit to pass is gone on with; `at_once`: by which flag another agent is named.
pub(crate) fn say_checkpointed(id: &SessionId, first_back: Option<&Limited>, at_once: &str, context: &Context) {
    let paint = context.err_paint;
    match first_back.and_then(|back| Some((back, back.resets_at?))) {
        Some((back, at)) => {
            let at = time(at, &context.zone);
            context.say(paint.warn(&format!("rate-limited; the first one back is {} at {at}", visible(&back.agent))));
        }
        None => context.say(paint.warn("rate-limited; nobody said until when")),
    }
    context.say(format!("go on with: decklog resume {id}, or at once with {at_once} AGENT"));
}

/// Refuses a session that another process records.
pub(crate) fn not_recorded(store: &SessionStore, id: &SessionId) -> Result<(), CliError> {
    if lock::held(&store.entry(id)) != Held::Yes {
        return Ok(());
    }
    let head = decklog_journal::store::current_head(&store.entry(id)).ok();
    let by = head.and_then(|head| head.pid).map(|pid| format!(" by process {pid}")).unwrap_or_default();
    Err(CliError::new(format!("{id} is being recorded now{by}")).hint(format!("look on with `decklog watch {id}`")))
}

/// Where the session worked, if that is still there.
pub(crate) fn working_dir(store: &SessionStore, id: &SessionId) -> Result<PathBuf, CliError> {
    let head = decklog_journal::store::current_head(&store.entry(id)).map_err(CliError::new)?;
    let dir = PathBuf::from(&head.working_dir);
    if dir.is_dir() {
        Ok(dir)
    } else {
        Err(CliError::new(format!("{} is gone: the session worked there", visible(&head.working_dir))))
    }
}

/// An amount in US dollars.
pub(crate) fn parse_dollars(text: &str) -> Result<f64, String> {
    match text.strip_prefix('$').unwrap_or(text).parse::<f64>() {
        Ok(dollars) if dollars.is_finite() && dollars > 0.0 => Ok(dollars),
        _ => Err("write an amount above zero, such as 2.50".into()),
    }
}

/// `NAME=VALUE`.
pub(crate) fn parse_variable(text: &str) -> Result<(OsString, OsString), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// Where agents' programs are.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Programs<'a> {
    /// On this machine, in the `PATH` of these variables.
    Here(&'a [(OsString, OsString)]),
    /// In a container, where it is seen whether they are there.
    Inside,
}

impl Programs<'_> {
    fn have(self, agent: &AgentDefinition) -> bool {
        match self {
            Self::Here(env) => agent.command.first().is_some_and(|program| find_program(program, env).is_some()),
            Self::Inside => true,
        }
    }
}

/// The agent called `name`, else the configured one, else the first that is installed.
pub(crate) fn agent(name: Option<&str>, config: &Config, programs: Programs<'_>) -> Result<AgentDefinition, CliError> {
    match name.or(config.default_agent.as_ref().map(|set| set.value.as_str())) {
        Some(name) => installed(name, config, programs),
        None => first_installed(config, programs),
    }
}

fn installed(name: &str, config: &Config, programs: Programs<'_>) -> Result<AgentDefinition, CliError> {
    let agent = config.agent(name).ok_or_else(|| unknown(name, config))?;
    if !agent.is_configured() {
        return Err(CliError::new(format!("{name} has no model")).hint(agent.install.clone()));
    }
    if !programs.have(agent) {
        let program = agent.command.first().cloned().unwrap_or_default();
        let error = CliError::new(format!(
            "{name} is not installed: there is no {} in PATH",
            visible(&program.to_string_lossy())
        ));
        return Err(if agent.install.is_empty() {
            error
        } else {
            error.hint(format!("install it: {}", agent.install))
        });
    }
    Ok(agent.clone())
}

fn unknown(name: &str, config: &Config) -> CliError {
    let names: Vec<_> = config.agents.iter().map(|agent| agent.value.name.as_str()).collect();
    CliError::new(format!("there is no agent {name:?}: decklog knows {}", names.join(", ")))
        .hint("put the prompt in quotes, or record any command with `decklog run -- CMD`; more agents go into the configuration")
}

fn first_installed(config: &Config, programs: Programs<'_>) -> Result<AgentDefinition, CliError> {
    let agents = || config.agents.iter().map(|set| &set.value);
    if let Programs::Inside = programs {
        return Err(CliError::new("which agent is to run in the container?").hint("name it, or set default-agent"));
    }
    let found = agents().find(|agent| agent.is_configured() && programs.have(agent));
    found.cloned().ok_or_else(|| {
        let list: String = agents()
            .filter(|agent| !agent.install.is_empty())
            .map(|agent| format!("\n  {:<13} {}", agent.name, agent.install))
            .collect();
        CliError::new("no agent is installed").hint(format!("decklog knows these, and how each is installed:{list}"))
    })
}

/// The task of agents that are named before it, with which it is taken off `words`.
pub(crate) fn task_last(
    words: &mut Vec<String>,
    file: Option<&Path>,
    verb: &str,
    config: &Config,
    context: &Context,
) -> Result<String, CliError> {
    let is_agent = |word: &str| config.agent(split_model(word, config).0).is_some();
    let task = match file {
        Some(file) => from_file(file, context)?,
        None => match words.pop().unwrap_or_default() {
            dash if dash == "-" => from_stdin()?,
            task if is_agent(&task) && !words.is_empty() => {
                return Err(CliError::new("what is the task?")
                    .hint(format!("decklog {verb} {} {task} \"Write the cache\"", words.join(" "))));
            }
            task => task,
        },
    };
    if task.trim().is_empty() {
        return Err(CliError::new("the task is empty").hint("give it in quotes, with --prompt-file, or on stdin"));
    }
    Ok(task)
}

/// A prompt from a file; `-` is stdin.
pub(crate) fn from_file(path: &Path, context: &Context) -> Result<String, CliError> {
    if path == Path::new("-") {
        return from_stdin();
    }
    let bytes =
        std::fs::read(context.cwd.join(path)).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?;
    String::from_utf8(bytes).map_err(|_| CliError::new(format!("{} is not UTF-8", path.display())))
}

/// A prompt from stdin.
pub(crate) fn from_stdin() -> Result<String, CliError> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|_| CliError::new("the prompt on stdin is not UTF-8"))
}
