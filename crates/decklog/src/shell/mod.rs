//! The shell: reads lines, does what they say, and tells what came of it.
//!
//! What a line means is decided in `line.rs`, where lines come from in `editor.rs`, and what becomes of the session in
//! `decklog_run::orchestrate::Shell`.

pub(crate) mod editor;
pub(crate) mod leave;
mod line;

use std::collections::BTreeMap;

use clap::Parser;
use decklog_journal::event::Tokens;
use decklog_journal::words::{SessionKind, TurnOutcome};
use decklog_journal::{SessionId, SessionStore};
use decklog_run::agents::Protocol;
use decklog_run::orchestrate::{Party, Relay, Reply, RestoreError, Setup, Shell, UndoError, last_agents_turn};
use decklog_run::supervise::{Received, Signals};
use decklog_text::format::{cost, counted, duration, thousands, time};
use decklog_text::{visible, visible_lines};

use self::editor::{Lines, Read};
use self::line::{COMMANDS, Command, Line};
use crate::asking::{self, Programs, Relaying};
use crate::boxing::{self, Asked, Boxing};
use crate::cli::Cli;
use crate::commands::run::answer;
use crate::config::Config;
use crate::context::Context;
use crate::error::{CliError, CliResult};
use crate::story::Story;
use crate::terminal;
use crate::way_back;

/// What was decided before the shell opens.
pub(crate) struct Opening {
    pub(crate) store: SessionStore,
    pub(crate) setup: Setup,
    pub(crate) party: Party,
    pub(crate) relay: Relay,
    pub(crate) boxing: Boxing,
    pub(crate) delimiter: Vec<u8>,
    pub(crate) wait: bool,
}

/// A shell at work.
pub(crate) struct Repl<'a> {
    shell: Shell,
    store: SessionStore,
    lines: Lines,
    signals: &'static Signals,
    config: Config,
    context: &'a Context,
    /// Somebody types, rather than a file.
    is_typed: bool,
    relaying: Relaying,
    boxing: Boxing,
    /// A command failed, or something could not be recorded, where nobody types: the exit code then.
    failed: bool,
    /// Events of this session are lost.
    lost: bool,
    /// What was used in this session, by agent.
    spent: BTreeMap<String, (u64, Tokens, Option<f64>)>,
    /// The terminal as it was, to be given back.
    terminal: Option<rustix::termios::Termios>,
}

/// What agents' definitions set, for what must not be recorded.
fn configured(config: &Config) -> Vec<(String, String)> {
    config.agents.iter().flat_map(|agent| agent.value.env.clone()).collect()
}

/// Whether the shell goes on.
enum Then {
    On,
    Leave,
}

impl<'a> Repl<'a> {
    pub(crate) fn new(opening: Opening, config: Config, context: &'a Context) -> Result<Self, CliError> {
        let Opening { store, setup, party, relay, boxing, delimiter, wait } = opening;
        let is_typed = context.in_is_terminal && context.err_is_terminal;
        // Questions to the user outlive every call: the signals are the process's.
        let signals: &'static Signals = Box::leak(Box::new(Signals::install()?));
        let configured = configured(&config);
        let relaying = Relaying { then: relay.others.iter().map(|other| other.party.label()).collect(), wait };
        let shell = Shell::new(store.clone(), setup, &party, &relay, configured);
        let lines = if is_typed {
            let known = config.agents.iter().map(|agent| &agent.value).filter(|agent| agent.is_configured());
            let agents = known.map(|agent| agent.name.clone()).collect();
            Lines::typed(
                context.state()?.join("history"),
                shell.redactor(),
                agents,
                context.cwd.clone(),
                context.err_paint,
            )?
        } else {
            Lines::piped(delimiter)?
        };
        let terminal = rustix::termios::tcgetattr(std::io::stdin()).ok().filter(|_| is_typed);
        let spent = BTreeMap::new();
        Ok(Self {
            shell,
            store,
            lines,
            signals,
            config,
            context,
            is_typed,
            relaying,
            boxing,
            failed: false,
            lost: false,
            spent,
            terminal,
        })
    }

    /// Reads and does, to the end.
    ///
    /// `on`: a session to go on with, and who does, if that was said.
    pub(crate) fn run(mut self, on: Option<(&SessionId, Option<Party>)>) -> CliResult {
        if self.is_typed {
            let agent = visible(&self.shell.party().label()).into_owned();
            let line = format!("{agent} is asked; /help lists the commands, Ctrl-D leaves");
            self.context.say(self.context.err_paint.dim(&line));
        }
        if let Some((id, given)) = on {
            let boxing = self.boxing.clone();
            self.resume(id, given, &boxing)?;
        }
        let mut interrupts = 0;
        let signal = loop {
            let prompt = format!("{} ❯ ", visible(&self.shell.party().label()));
            let text = match self.lines.next(&prompt, self.signals) {
                Read::Line(text) => text,
                Read::Interrupt { typed } => {
                    interrupts = if typed { 0 } else { interrupts + 1 };
                    match interrupts {
                        0 => {}
                        1 => self.context.say("Ctrl-C again leaves, as Ctrl-D does"),
                        _ => break None,
                    }
                    continue;
                }
                // Input can end before the signal comes that says why.
                Read::End | Read::Failed(_) if self.is_typed && terminal::is_gone(std::io::stdin()) => {
                    break Some(Received::HangUp);
                }
                Read::End => break None,
                Read::Failed(why) => {
                    self.context.warn(&why);
                    self.failed = true;
                    break None;
                }
                // Ctrl-C just before the editor listened.
                Read::Signal(Received::Interrupt) if self.is_typed => {
                    self.signals.forget_interrupt();
                    continue;
                }
                Read::Signal(signal) => break Some(signal),
            };
            interrupts = 0;
            match self.take(&text) {
                Ok(Then::On) => {}
                Ok(Then::Leave) => break None,
                Err(error) => {
                    self.tell_error(&error);
                    // What follows may have been meant for what could not be done.
                    if !self.is_typed {
                        self.context.say("the rest was not read");
                        self.failed = true;
                        break None;
                    }
                }
            }
            match self.signals.received() {
                Some(Received::Interrupt) if self.is_typed => self.signals.forget_interrupt(),
                Some(signal) => break Some(signal),
                None => {}
            }
        };
        let exits_with = match signal {
            Some(signal) => Some(signal.exit_code()),
            None if self.is_typed => Some(0),
            None if self.failed => Some(2),
            None => None,
        };
        let code = self.finish(exits_with);
        self.give_back();
        Ok(code)
    }

    /// Gives the terminal back as it was: the editor may still be waiting on it.
    fn give_back(&self) {
        if let Some(terminal) = &self.terminal {
            let _ = rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, terminal);
        }
    }

    fn tell_error(&self, error: &CliError) {
        let paint = self.context.err_paint;
        if !error.message.is_empty() {
            self.context.say(format!("{} {}", paint.bad("error:"), visible_lines(&error.message)));
        }
        if let Some(hint) = &error.hint {
            self.context.say(format!("{} {}", paint.dim(" hint:"), visible_lines(hint)));
        }
    }

    fn take(&mut self, text: &str) -> Result<Then, CliError> {
        match line::read(text) {
            Line::Empty => {}
            Line::Prompt(prompt) => self.ask(&prompt)?,
            Line::Bad(why) => return Err(CliError::new(why)),
            Line::Command(Command::Quit) => return Ok(Then::Leave),
            Line::Command(command) => self.obey(command)?,
        }
        Ok(Then::On)
    }

    fn story(&self) -> Story {
        let story = Story::new(&self.shell.party().label(), false, self.context);
        if self.is_typed { story.in_full(self.context).with_somebody(self.signals) } else { story }
    }

    fn ask(&mut self, prompt: &str) -> Result<(), CliError> {
        if self.lost {
            return Err(CliError::new("the session cannot be recorded any more, so nothing is asked")
                .hint("make room on the disk and open the shell anew"));
        }
        let mut story = self.story();
        let reply = self.shell.ask(prompt, (self.signals, &mut story));
        story.finish();
        let reply = reply?;
        let well = (reply.outcome == TurnOutcome::Success).then_some(reply.agent.as_str());
        asking::note_limits(&reply.limited, well, self.context);
        let (turns, tokens, dollars) = self.spent.entry(reply.agent.clone()).or_default();
        *turns += 1;
        *tokens += reply.tokens;
        *dollars = reply.cost_usd.map(|more| dollars.unwrap_or(0.0) + more).or(*dollars);
        self.lost |= reply.lost;
        self.tell(&reply)
    }

    fn tell(&self, reply: &Reply) -> Result<(), CliError> {
        let (context, paint) = (self.context, self.context.err_paint);
        // Typed and shown on one terminal, the words stand there already.
        let is_shown = self.is_typed && context.out_is_terminal;
        if !is_shown && !reply.text.is_empty() {
            answer(&reply.text, context)?;
        }
        if let Some(error) = &reply.error
            && !self.is_typed
        {
            context.say(format!("{} {}", paint.bad(&format!("{}:", visible(&reply.agent))), visible_lines(error)));
        }
        if !reply.limited.is_empty() && reply.outcome != TurnOutcome::Success {
            let back = reply.first_back.as_ref().and_then(|back| Some((visible(&back.agent), back.resets_at?)));
            let back =
                back.map(|(agent, at)| format!("; the first one back is {agent} at {}", time(at, &context.zone)));
            let line = format!("rate-limited{}; /use goes on with another agent", back.unwrap_or_default());
            context.say(paint.warn(&line));
        }
        if self.is_typed && !reply.tokens.is_zero() {
            let mut parts = vec![duration(reply.duration_secs)];
            let (read, written) = (thousands(reply.tokens.input), thousands(reply.tokens.output));
            parts.push(format!("{read} tokens in, {written} out"));
            parts.extend(reply.cost_usd.map(cost));
            context.say(paint.dim(&format!("  {}", parts.join(" · "))));
        }
        if !reply.recorded {
            context.say(paint.bad("the record is incomplete: see above for what was not kept"));
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<(), CliError> {
        match command {
            Command::Use { agent, summarize } => self.switch(&agent, summarize)?,
            Command::Handoff { agent, summarize } => self.hand_off(agent, summarize)?,
            Command::Resume(id) => {
                let id = self.context.find(&self.store, id.as_deref())?;
                if self.shell.id() == Some(&id) {
                    return Err(CliError::new("this is that session"));
                }
                // What it had, and not what this shell was told.
                let boxing = self.boxing.of_another();
                self.resume(&id, None, &boxing)?;
            }
            Command::Status => self.status(),
            Command::Agents => self.decklog(&["agents".into()])?,
            Command::Order(names) => self.order(names)?,
            Command::Check(what) => self.check(what)?,
            Command::Diff(turn) => {
                let id = self.id()?;
                let mut words = vec!["diff".into(), id];
                words.extend(turn.into_iter().flat_map(|turn| ["--turn".to_owned(), turn.to_string()]));
                self.decklog(&words)?;
            }
            Command::Undo => self.undo()?,
            Command::Permissions(permissions) => {
                self.shell.setup.permissions = permissions.unwrap_or(self.shell.setup.permissions);
                self.context.say(format!("agents may do: {}", self.shell.setup.permissions));
            }
            Command::Model(model) => self.model(model)?,
            Command::Cost => self.cost(),
            Command::Help => self.help(),
            Command::Quit => {}
        }
        Ok(())
    }

    /// Refuses a name that no agent has.
    fn known(&self, name: &str) -> Result<(), CliError> {
        let name = asking::split_model(name, &self.config).0;
        match self.config.agent(name) {
            Some(_) => Ok(()),
            None => Err(CliError::new(format!("there is no agent {name:?}")).hint("/agents lists those there are")),
        }
    }

    /// Where the agents' programs are.
    fn programs(&self) -> Programs<'_> {
        let setup = &self.shell.setup;
        let boxed = setup.sandbox.as_ref().is_some_and(|plan| plan.boxed.is_some());
        if boxed { Programs::Inside } else { Programs::Here(&setup.env) }
    }

    fn switch(&mut self, name: &str, summarize: bool) -> Result<(), CliError> {
        self.known(name)?;
        let party = asking::party(name, &self.config, self.programs())?;
        let (ledger, now) = (self.context.ledger()?, self.context.clock.now());
        if let Some(until) = ledger.until(&party.agent.name, now) {
            let until = time(until, &self.context.zone);
            self.context.say(format!("{} may be rate-limited until {until}", visible(&party.agent.name)));
        }
        let mut story = self.story();
        let switched = self.shell.switch(party, summarize, (self.signals, &mut story));
        story.finish();
        switched?;
        Ok(())
    }

    fn hand_off(&mut self, agent: Option<String>, summarize: bool) -> Result<(), CliError> {
        let to = agent
            .or_else(|| self.relaying.then.first().cloned())
            .ok_or_else(|| CliError::new("to which agent?").hint("/handoff AGENT, or /order to say who follows"))?;
        self.known(&to)?;
        let name = asking::split_model(&to, &self.config).0.to_owned();
        let mut story = self.story();
        let handed = self.shell.hand_off(&name, summarize, (self.signals, &mut story));
        story.finish();
        let (id, handed) = handed?.ok_or_else(|| CliError::new("there is nothing to hand off yet"))?;
        self.spent.clear();
        if !handed.recorded {
            self.failed = true;
            self.context.say(self.context.err_paint.bad("the record is incomplete: see above for what was not kept"));
        }
        self.context.say(format!("what it will read: {}", self.store.entry(&id).join(&handed.packet.path).display()));
        self.context
            .say(format!("go on with: decklog resume {id} --agent {name}, or `/resume {id}`, then `/use {to}`"));
        Ok(())
    }

    /// Refuses a session that goes on otherwise, or is at work.
    fn goes_on_here(&self, id: &SessionId) -> Result<(), CliError> {
        let kind = self.store.load(id)?.head.kind;
        if !matches!(kind, SessionKind::Run | SessionKind::Shell | SessionKind::Import) {
            return Err(CliError::new(format!("{id} is a {kind}, which does not go on in a shell"))
                .hint(format!("decklog resume {id}")));
        }
        asking::not_recorded(&self.store, id)?;
        asking::working_dir(&self.store, id).map(drop)
    }

    /// Goes on with another session. The agent that had it goes on, where it can, unless `given` says who.
    fn resume(&mut self, id: &SessionId, given: Option<Party>, boxing: &Boxing) -> Result<(), CliError> {
        self.goes_on_here(id)?;
        let past = self.store.load(id)?;
        let last = last_agents_turn(&past).map(|turn| turn.agent.clone());
        let programs = boxing.programs(Some(&past.head), &self.shell.setup.env);
        let known = last.and_then(|name| asking::party(&name, &self.config, programs).ok());
        let party = given.or(known).unwrap_or_else(|| self.shell.party().clone());
        let working_dir = asking::working_dir(&self.store, id)?;
        let mut setup = Setup { working_dir, ..self.shell.setup.clone() };
        let relay = self.relaying.resolve(&self.config, programs, self.context)?;
        let asked = Asked::new([&party], &relay, (&self.shell.setup.env, &[]));
        boxing::put(&mut setup, boxing.resolve_again(&past.head, &asked, &self.config, self.context)?);
        // The present session stands until the other one is at hand.
        let mut next = Shell::new(self.store.clone(), setup, &party, &relay, configured(&self.config));
        let mut story = self.story();
        let resumed = next.resume(id, (self.signals, &mut story));
        story.finish();
        resumed?;
        self.failed |= self.finish(None) != 0;
        self.shell = next;
        let turns = counted(past.turns.len() as u64, "turn");
        self.context.say(format!("{turns} so far, in {}", visible(&past.head.working_dir)));
        for turn in &past.turns {
            let (turns, tokens, dollars) = self.spent.entry(turn.agent.clone()).or_default();
            *turns += 1;
            *tokens += turn.tokens;
            *dollars = turn.cost_usd.map(|more| dollars.unwrap_or(0.0) + more).or(*dollars);
        }
        Ok(())
    }

    fn id(&self) -> Result<String, CliError> {
        let id = self.shell.id().map(ToString::to_string);
        id.ok_or_else(|| {
            CliError::new("there is no session yet").hint("the first prompt begins one; /resume goes on with another")
        })
    }

    fn status(&self) {
        let session =
            self.shell.id().map_or_else(|| "none yet: the first prompt begins it".into(), ToString::to_string);
        let turns: u64 = self.spent.values().map(|(turns, ..)| turns).sum();
        let setup = &self.shell.setup;
        let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let mut rows = vec![
            ("session", session),
            ("agent", self.shell.party().label()),
            ("may do", setup.permissions.to_string()),
            ("checks", list(&setup.checks)),
            ("order", list(&self.relaying.then)),
            ("turns", turns.to_string()),
            ("in", setup.working_dir.to_string_lossy().into_owned()),
        ];
        if let Some(dir) = self.shell.session_dir() {
            rows.push(("record", dir.to_string_lossy().into_owned()));
        }
        for (name, value) in rows {
            self.context.say(format!("  {name:<8} {}", visible(&value)));
        }
        self.cost();
    }

    fn cost(&self) {
        if self.spent.is_empty() {
            self.context.say("  nothing was used yet");
        }
        for (agent, (turns, tokens, dollars)) in &self.spent {
            let dollars = dollars.map(|dollars| format!(" · {}", cost(dollars))).unwrap_or_default();
            let (read, written) = (thousands(tokens.input), thousands(tokens.output));
            let turns = counted(*turns, "turn");
            self.context.say(format!("  {:<12} {turns} · {read} tokens in, {written} out{dollars}", visible(agent)));
        }
    }

    fn order(&mut self, names: Option<Vec<String>>) -> Result<(), CliError> {
        if let Some(names) = names {
            let then = if names.is_empty() { vec!["none".to_owned()] } else { names };
            let relaying = Relaying { then, wait: self.relaying.wait };
            let relay = relaying.resolve(&self.config, self.programs(), self.context)?;
            self.shell.set_relay(&relay);
            self.relaying.then = relay.others.iter().map(|other| other.party.label()).collect();
        }
        let order = if self.relaying.then.is_empty() { "nobody".into() } else { self.relaying.then.join(", then ") };
        self.context.say(format!("when {} is rate-limited: {}", visible(&self.shell.party().label()), visible(&order)));
        Ok(())
    }

    fn check(&mut self, what: Option<String>) -> Result<(), CliError> {
        match what.as_deref() {
            Some("none") => {
                self.shell.setup.checks.clear();
                self.context.say("no checks are run");
                return Ok(());
            }
            Some(command) if !self.shell.setup.checks.iter().any(|known| known == command) => {
                self.shell.setup.checks.push(command.to_owned());
            }
            _ => {}
        }
        if self.shell.setup.checks.is_empty() {
            return Err(CliError::new("there is no check").hint("/check CMD runs one now and after every turn"));
        }
        if self.spent.is_empty() {
            self.context.say("run after every turn from now on");
            return Ok(());
        }
        let mut story = self.story();
        let results = self.shell.check((self.signals, &mut story));
        story.finish();
        results?;
        Ok(())
    }

    fn undo(&mut self) -> Result<(), CliError> {
        let undone = match self.shell.undo(self.signals) {
            Ok(undone) => undone,
            Err(UndoError::Restore(RestoreError::Incomplete(undo))) => {
                way_back::report(&undo, self.context);
                if way_back::is_wanted(self.signals, self.context) {
                    let (restored, trouble) = self.shell.go_back(&undo, self.signals).map_err(|error| match error {
                        UndoError::Restore(error) => way_back::gone_back(error, self.context),
                        other => CliError::new(other),
                    })?;
                    self.context.say("back again: the files are as they were before /undo");
                    way_back::warn_of_left(&restored, self.context);
                    if let Some(trouble) = trouble {
                        self.context.warn(&format!("not all of it is in the record: {trouble}"));
                    }
                }
                return Err(CliError::new(&undo.error).hint("outside of the shell, the command above goes back"));
            }
            Err(error @ UndoError::Changed(_)) => {
                return Err(CliError::new(error).hint(
                    "commit or put aside what is yours; after leaving the shell, `decklog restore ID@N --in-place` takes \
                     everything back",
                ));
            }
            Err(error) => return Err(CliError::new(error)),
        };
        let (written, removed) = (undone.restored.written.len() as u64, undone.restored.removed.len());
        self.context.say(format!(
            "turn {} is undone: {} written, {removed} removed; /undo again goes back further",
            undone.turn,
            counted(written, "file")
        ));
        if let Some(id) = self.shell.id() {
            self.context.say(format!(
                "to have it back, after leaving the shell: decklog restore {id}@{} --in-place",
                undone.before
            ));
        }
        way_back::warn_of_left(&undone.restored, self.context);
        if let Some(trouble) = undone.trouble {
            self.context.warn(&format!("not all of it is in the record: {trouble}"));
        }
        Ok(())
    }

    fn model(&mut self, model: Option<String>) -> Result<(), CliError> {
        let mut party = self.shell.party().clone();
        if let Some(model) = model {
            if party.agent.protocol == Protocol::Text {
                return Err(CliError::new(format!("{} takes no model", party.agent.name)));
            }
            party.model = Some(model).filter(|model| model != "default");
            let mut story = self.story();
            self.shell.switch(party.clone(), false, (self.signals, &mut story))?;
        }
        self.context.say(format!("model: {}", visible(party.model.as_deref().unwrap_or("the agent's own choice"))));
        Ok(())
    }

    fn help(&self) {
        for (name, arguments, what) in COMMANDS {
            let left = format!("{name} {arguments}");
            self.context.say(format!("  {left:<38} {what}"));
        }
        self.context
            .say("  Anything else goes to the agent. Alt-Enter begins a new line, Tab completes, Ctrl-R searches.");
    }

    /// Does what a command of decklog's does.
    fn decklog(&self, words: &[String]) -> Result<(), CliError> {
        let root = self.store.root().as_os_str().to_owned();
        let mut all = vec!["decklog".into(), "--session-root".into(), root];
        all.extend(words.iter().map(Into::into));
        let cli = Cli::try_parse_from(all).map_err(|error| CliError::new(error.to_string().trim_end().to_owned()))?;
        if let Some(verb) = cli.verb {
            verb.run(self.context)?;
        }
        Ok(())
    }

    fn finish(&mut self, exits_with: Option<i32>) -> i32 {
        let mut story = self.story();
        let finished = self.shell.finish(exits_with, !self.is_typed, (self.signals, &mut story));
        story.finish();
        self.spent.clear();
        self.lost = false;
        let Some(finished) = finished else { return exits_with.unwrap_or(0) };
        if !finished.recorded {
            self.context.say(self.context.err_paint.bad("the record is incomplete: its end may be missing"));
        }
        let word = finished.outcome.map_or("checkpointed", |outcome| outcome.as_str());
        let paint = self.context.err_paint;
        self.context.say(format!("{} · {word} · decklog show {}", paint.bold(finished.id.as_str()), finished.id));
        if finished.outcome.is_none() {
            self.context.say(format!("go on with: decklog resume {}", finished.id));
        }
        finished.exit_code
    }
}
