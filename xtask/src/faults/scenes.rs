//! Scenes: one way of calling a verb each, with the world that the call finds.
//!
//! Must not know: faults. What a scene promises is data here and is judged in `judge`.

use std::fs;

use super::world::World;
use super::{agents, mcp};
use crate::Result;

/// What a call does to sessions, so what its verdict depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Makes one session with this many turns.
    Records(u32),
    /// Appends this many turns to the newest session.
    Continues(u32),
    /// Removes the newest sessions, this many.
    Removes(usize),
    /// Makes this many sessions from other files.
    Imports(usize),
    /// Puts files where the session worked, or into `then`.
    Restores,
    /// Writes a file.
    Exports,
}

/// One way of calling a verb.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) verb: &'static str,
    pub(crate) effect: Effect,
    /// The arguments. A word `ID` is the newest session's id, `HOME` the home directory, `OUT` the directory `outside`.
    pub(crate) arguments: &'static [&'static str],
    pub(crate) stdin: &'static str,
    /// What decklog is run with beforehand; `!` begins the name of a change that [`prepare`] knows.
    before: &'static [&'static [&'static str]],
}

const PLAIN: &[&str] = &["run", "--", "sh", "../home/plain.sh"];
const ADA: &[&str] = &["run", "ada", "Write it."];
const RESUMES: &[&str] = &["resume", "ID", "Go on."];

pub(crate) const SCENES: &[Scene] = &[
    scene("run", Effect::Records(1), &["run", "--check", "cat work.txt", "--", "sh", "../home/plain.sh"], &[]),
    scene("run-agent", Effect::Records(1), &["run", "ada", "Write it."], &[]),
    scene("run-json", Effect::Records(1), &["run", "--json", "ada", "Write it."], &[]),
    scene("resume", Effect::Continues(1), RESUMES, &[ADA]),
    scene("resume-crashed", Effect::Continues(1), RESUMES, &[ADA, &["!crash"]]),
    scene("resume-other", Effect::Continues(1), &["resume", "ID", "--agent", "bob", "Go on."], &[ADA]),
    scene(
        "loop",
        Effect::Records(4),
        &["loop", "--actor", "actor", "--critic", "critic", "--check", "test -e work.txt", "Take two steps."],
        &[],
    ),
    scene("race", Effect::Records(2), &["race", "ada", "bob", "--pick", "ada", "Write it."], &[]),
    Scene { stdin: "Write one.\n/use bob\nWrite two.\n", ..scene("shell", Effect::Records(2), &["shell", "ada"], &[]) },
    scene("import", Effect::Imports(agents::HISTORIES), &["import", "claude"], &[&["!histories"]]),
    scene(
        "import-archive",
        Effect::Imports(2),
        &["import", "OUT/all.tar.zst"],
        &[
            ADA,
            PLAIN,
            &["export", "--format", "tar.zst", "-o", "OUT/all.tar.zst", "@", "@2"],
            &["discard", "-y", "@", "@2"],
        ],
    ),
    scene("discard", Effect::Removes(1), &["discard", "-y", "ID"], &[ADA]),
    scene("discard-json", Effect::Removes(1), &["discard", "-y", "--json", "ID"], &[PLAIN]),
    scene(
        "clean",
        Effect::Removes(3),
        &["clean", "-y", "--agent", "ada", "--older-than", "1s"],
        &[ADA, ADA, ADA, &["!wait"]],
    ),
    scene("restore-in-place", Effect::Restores, &["restore", "ID", "--in-place", "-y"], &[ADA, &["!edit"]]),
    scene("restore", Effect::Restores, &["restore", "ID", "--into", "then"], &[ADA, &["!edit"]]),
    scene("export", Effect::Exports, &["export", "--format", "tar.zst", "-o", "OUT/export", "ID"], &[ADA]),
    scene("mcp", Effect::Records(1), &["mcp", "--image", "tiny"], &[&["!image"]]),
    scene("export-markdown", Effect::Exports, &["export", "--format", "markdown", "-o", "OUT/export", "ID"], &[ADA]),
];

const fn scene(
    name: &'static str,
    effect: Effect,
    arguments: &'static [&'static str],
    before: &'static [&'static [&'static str]],
) -> Scene {
    Scene { name, verb: arguments[0], effect, arguments, stdin: "", before }
}

/// Makes the world of a scene: in each one session is there that the scene has nothing to do with.
pub(crate) fn prepare(scene: &Scene, world: &World) -> Result<()> {
    world.create()?;
    agents::install(world)?;
    bystander(world)?;
    for arguments in scene.before {
        match arguments {
            ["!crash"] => crash(world)?,
            ["!edit"] => edit(world)?,
            ["!image"] => mcp::configure(world)?,
            ["!histories"] => agents::write_histories(world)?,
            // `clean` counts whole seconds.
            ["!wait"] => std::thread::sleep(std::time::Duration::from_millis(2100)),
            arguments => {
                let arguments = fill(arguments, world);
                let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
                let ran = world.decklog(&words)?;
                if ran.code != Some(0) {
                    return Err(format!("{}: decklog {}: {}", scene.name, words.join(" "), ran.stderr).into());
                }
            }
        }
    }
    if scene.stdin.is_empty() {
        return Ok(());
    }
    Ok(fs::write(world.path("home/stdin"), scene.stdin)?)
}

/// A session of another place and time, that stays as it is.
fn bystander(world: &World) -> Result<()> {
    let ran = world.run(
        world
            .command(&world.program)
            .args(["run", "--", "echo", "bystander"])
            .env("DECKLOG_TEST_NOW", "2026-05-01T13:44:12Z"),
    )?;
    if ran.code == Some(0) { Ok(()) } else { Err(format!("the first session: {}", ran.stderr).into()) }
}

/// Cuts the newest session off as a kill in its last turn does.
fn crash(world: &World) -> Result<()> {
    let dir = world.root().join(world.ids().pop().ok_or("no session")?);
    let journal = fs::read_to_string(dir.join("journal.jsonl"))?;
    let keep: Vec<&str> = journal.split_inclusive('\n').collect();
    fs::write(dir.join("journal.jsonl"), keep[..keep.len() - 2].concat() + "{\"seq\":")?;
    fs::remove_file(dir.join("session.json"))?;
    Ok(())
}

/// Changes files after a session, so that a restore has something to do.
fn edit(world: &World) -> Result<()> {
    fs::write(world.path("work/ada1.txt"), "edited\n")?;
    fs::remove_file(world.path("work/ada2.txt"))?;
    fs::write(world.path("work/new.txt"), "new\n")?;
    Ok(())
}

/// The arguments with the places and ids of this world.
pub(crate) fn fill(arguments: &[&str], world: &World) -> Vec<String> {
    let newest = world.ids().pop().unwrap_or_default();
    let place = |name: &str| world.path(name).to_string_lossy().into_owned();
    let word = |word: &&str| match *word {
        "ID" => newest.clone(),
        word => word.replace("OUT", &place("outside")),
    };
    arguments.iter().map(word).collect()
}
