//! `[images.NAME]` of a configuration file: containers, and the MCP servers in them.
//!
//! An untrusted repository may describe images that are built from what is in it, and nothing that reaches beyond: what
//! else is mounted, privileged, fetched or read from the environment refuses the image whole, as half of it is another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use decklog_sandbox::image::{Capabilities, CapabilitySet, Image, Mount, ServerSpec, Source};
use serde::Deserialize;

use super::{is_inside, parse_duration};

/// `[images.NAME]` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ImageTable {
    dockerfile: Option<PathBuf>,
    context: Option<PathBuf>,
    #[serde(default)]
    build_args: BTreeMap<String, String>,
    image: Option<String>,
    workspace: Option<String>,
    #[serde(default)]
    mounts: Vec<MountTable>,
    capabilities: Option<String>,
    #[serde(default)]
    cap_add: Vec<String>,
    #[serde(default)]
    cap_drop: Vec<String>,
    #[serde(default)]
    mcp: BTreeMap<String, Server>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MountTable {
    host: PathBuf,
    at: String,
    access: Option<String>,
}

/// A server: its command alone, or a table.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "write a command, such as [\"server\", \"/workspace\"], or a table with command, env and call-timeout"
)]
enum Server {
    Command(Vec<String>),
    Table(ServerTable),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ServerTable {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    call_timeout: Option<String>,
}

/// The image that `table` describes, with paths from `base`.
pub(super) fn image(name: &str, table: ImageTable, base: &Path) -> Result<Image, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if !name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()) || !name.chars().all(plain) {
        return Err(format!(
            "image {name:?}: a name has small letters, digits, '-', '_' and '.', such as [images.coding]"
        ));
    }
    let source = match (table.dockerfile, table.image) {
        (Some(dockerfile), None) => {
            let dockerfile = base.join(dockerfile);
            let beside = dockerfile.parent().unwrap_or(base).to_owned();
            let context = table.context.map_or(beside, |context| base.join(context));
            Source::Build { dockerfile, context, arguments: table.build_args }
        }
        (None, Some(_)) if table.context.is_some() || !table.build_args.is_empty() => {
            return Err("context and build-args are for a dockerfile, and an image that is named is not built".into());
        }
        (None, Some(reference)) if reference.is_empty() || reference.starts_with('-') => {
            return Err(format!("image = {reference:?} names no image"));
        }
        (None, Some(reference)) => Source::Ready(reference),
        _ => return Err("give either dockerfile = \"Dockerfile\" or image = \"localhost/dev:latest\"".into()),
    };
    let workspace = table.workspace.unwrap_or_else(|| "/workspace".into());
    within(&workspace, "workspace")?;
    let from = match table.capabilities.as_deref() {
        None | Some("default") => CapabilitySet::Default,
        Some("no-net-raw") => CapabilitySet::NoNetRaw,
        Some("none") => CapabilitySet::None,
        Some(other) => return Err(format!("capabilities = {other:?} is none of: default, no-net-raw, none")),
    };
    let mut mounts = Vec::new();
    for mount in table.mounts {
        within(&mount.at, "at")?;
        let writable = match mount.access.as_deref() {
            None | Some("read-only") => false,
            Some("read-write") => true,
            Some(other) => return Err(format!("access = {other:?} is none of: read-only, read-write")),
        };
        mounts.push(Mount { host: base.join(mount.host), at: mount.at, writable });
    }
    let capabilities = Capabilities { from, add: table.cap_add, drop: table.cap_drop };
    let servers = table.mcp.into_iter().map(|(name, table)| server(name, table)).collect::<Result<_, _>>()?;
    Ok(Image { name: name.to_owned(), source, workspace, mounts, capabilities, servers })
}

fn server(name: String, server: Server) -> Result<ServerSpec, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if name.is_empty() || !name.chars().all(plain) || name.contains("__") || name.ends_with('_') || name.len() > 32 {
        return Err(format!(
            "MCP server {name:?}: a name has at most 32 letters, digits, '-' and single '_', as it begins its tools' names"
        ));
    }
    let table = match server {
        Server::Command(command) => ServerTable { command, env: BTreeMap::new(), call_timeout: None },
        Server::Table(table) => table,
    };
    if table.command.first().is_none_or(String::is_empty) {
        return Err(format!(
            "MCP server {name:?} needs a command, such as {name} = [\"{name}-server\", \"/workspace\"]"
        ));
    }
    for (variable, value) in &table.env {
        let odd = variable.is_empty() || variable.contains(['=', '\n', '\0', '#', ' ']) || value.contains(['\n', '\0']);
        if odd {
            return Err(format!("MCP server {name:?}: a variable's name or value cannot hold what {variable:?} does"));
        }
        variables_in(value)?;
    }
    let call_timeout: Option<Duration> = table.call_timeout.as_deref().map(parse_duration).transpose()?;
    Ok(ServerSpec { name, command: table.command, env: table.env.into_iter().collect(), call_timeout })
}

/// A path in a container: absolute, and not all of it.
fn within(path: &str, key: &str) -> Result<(), String> {
    let up = Path::new(path).components().any(|part| part == std::path::Component::ParentDir);
    if path.starts_with('/') && !path.trim_matches('/').is_empty() && !up && !path.contains('\0') {
        Ok(())
    } else {
        Err(format!("{key} = {path:?}: write an absolute path in the container, such as /workspace"))
    }
}

/// Why an image from an untrusted repository at `root` is not taken.
pub(super) fn reaches_out(image: &Image, root: &Path) -> Option<String> {
    let inside = |path: &Path| is_inside(path, root) && path.components().all(|part| part.as_os_str() != ".git");
    match &image.source {
        Source::Ready(reference) => return Some(format!("it is {reference:?}, which is not made here")),
        Source::Build { dockerfile, context, .. } => {
            for path in [dockerfile, context] {
                if !inside(path) {
                    return Some(format!("{} is outside the repository's content", path.display()));
                }
            }
        }
    }
    if let Some(mount) = image.mounts.iter().find(|mount| !inside(&mount.host)) {
        return Some(format!("it mounts {}, which is outside the repository's content", mount.host.display()));
    }
    if let Some(name) = image.capabilities.add.first() {
        return Some(format!("it adds the capability {name}"));
    }
    let mut values = image.servers.iter().flat_map(|server| &server.env);
    let variable = values.find_map(|(_, value)| variables_in(value).ok()?.into_iter().next());
    variable.map(|variable| format!("it reads the variable {variable} of your environment"))
}

/// The host's variables that a value names as `${NAME}`.
fn variables_in(value: &str) -> Result<Vec<&str>, String> {
    let mut names = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else {
            return Err(format!("{value:?}: a variable is written ${{NAME}}"));
        };
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("{value:?}: ${{{name}}} names no variable"));
        }
        names.push(name);
        rest = after;
    }
    Ok(names)
}

/// Puts the host's variables in the place of their names, which it gives. `lookup` gives a variable's value.
pub(crate) fn expand(image: &mut Image, lookup: impl Fn(&str) -> Option<String>) -> Result<Vec<String>, String> {
    let mut read = Vec::new();
    for server in &mut image.servers {
        for (variable, value) in &mut server.env {
            for name in variables_in(&value.clone())? {
                let found = lookup(name).filter(|found| !found.contains(['\n', '\0'])).ok_or_else(|| {
                    format!("MCP server {:?}: {variable} needs the variable {name}, which is not set", server.name)
                })?;
                *value = value.replace(&format!("${{{name}}}"), &found);
                read.push(name.to_owned());
            }
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Image, String> {
        let table: ImageTable = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        image("coding", table, Path::new("/repo"))
    }

    #[test]
    fn an_image_is_read_whole() {
        let image = read(
            r#"
            dockerfile = "box/Dockerfile"
            build-args = { VERSION = "3" }
            mounts = [{ host = "../data", at = "/data" }, { host = "cache", at = "/cache", access = "read-write" }]
            capabilities = "no-net-raw"
            cap-drop = ["CHOWN"]
            [mcp]
            fs = ["mcp-server-filesystem", "/workspace"]
            shell = { command = ["shell-mcp"], env = { HOME = "/workspace" }, call-timeout = "10m" }
            "#,
        )
        .expect("an image");
        let Source::Build { dockerfile, context, arguments } = &image.source else { panic!("it is built") };
        assert_eq!(
            (dockerfile.as_path(), context.as_path()),
            (Path::new("/repo/box/Dockerfile"), Path::new("/repo/box"))
        );
        assert_eq!(arguments["VERSION"], "3");
        assert_eq!(image.workspace, "/workspace");
        assert_eq!(image.mounts[0], Mount { host: "/repo/../data".into(), at: "/data".into(), writable: false });
        assert!(image.mounts[1].writable);
        assert_eq!(image.capabilities.from, CapabilitySet::NoNetRaw);
        let names: Vec<_> = image.servers.iter().map(|server| server.name.as_str()).collect();
        assert_eq!(names, ["fs", "shell"]);
        assert_eq!(image.servers[1].call_timeout, Some(Duration::from_secs(600)));
    }

    #[test]
    fn what_makes_no_image_is_told() {
        for (text, why) in [
            ("", "give either dockerfile"),
            ("dockerfile = \"D\"\nimage = \"i\"", "give either dockerfile"),
            ("image = \"\"", "names no image"),
            ("image = \"--privileged\"", "names no image"),
            ("image = \"i\"\ncontext = \".\"", "are for a dockerfile"),
            ("image = \"i\"\nworkspace = \"/\"", "an absolute path in the container"),
            ("image = \"i\"\nworkspace = \"/a/../..\"", "an absolute path in the container"),
            ("image = \"i\"\ncapabilities = \"all\"", "is none of: default, no-net-raw, none"),
            ("image = \"i\"\nmounts = [{ host = \"a\", at = \"/a\", access = \"rw\" }]", "is none of: read-only"),
            ("image = \"i\"\nmcp = { a__b = [\"x\"] }", "single '_'"),
            ("image = \"i\"\nmcp = { fs = [] }", "needs a command"),
            ("image = \"i\"\nmcp = { fs = 3 }", "write a command"),
            ("image = \"i\"\nmcp = { fs = { command = [\"x\"], env = { A = \"${B\" } } }", "a variable is written"),
            ("image = \"i\"\nmcp = { fs = { command = [\"x\"], call-timeout = \"soon\" } }", "is no duration"),
            ("image = \"i\"\nprivileged = true", "unknown field `privileged`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_untrusted_image_reaches_nothing_beyond_its_repository() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("Dockerfile"), "FROM scratch").expect("a file");
        std::os::unix::fs::symlink("/etc", root.path().join("etc")).expect("a link");
        for (text, why) in [
            ("dockerfile = \"Dockerfile\"", None),
            ("dockerfile = \"Dockerfile\"\nmounts = [{ host = \"data\", at = \"/data\" }]", None),
            ("dockerfile = \"../Dockerfile\"", Some("outside")),
            ("dockerfile = \"Dockerfile\"\ncontext = \"/\"", Some("outside")),
            ("dockerfile = \"Dockerfile\"\ncontext = \"etc\"", Some("outside")),
            ("dockerfile = \"Dockerfile\"\ncontext = \".git\"", Some("outside")),
            ("image = \"docker.io/evil\"", Some("not made here")),
            ("dockerfile = \"Dockerfile\"\nmounts = [{ host = \"/etc\", at = \"/data\" }]", Some("mounts /etc")),
            ("dockerfile = \"Dockerfile\"\nmounts = [{ host = \"etc/ssh\", at = \"/data\" }]", Some("outside")),
            ("dockerfile = \"Dockerfile\"\ncap-add = [\"SYS_ADMIN\"]", Some("capability SYS_ADMIN")),
            (
                "dockerfile = \"Dockerfile\"\nmcp = { fs = { command = [\"x\"], env = { A = \"Bearer ${MY_TOKEN}\" } } }",
                Some("the variable MY_TOKEN"),
            ),
        ] {
            let table: ImageTable = toml::from_str(text).expect(text);
            let image = image("coding", table, root.path()).expect(text);
            let refused = reaches_out(&image, root.path());
            match why {
                None => assert_eq!(refused, None, "{text}"),
                Some(why) => assert!(refused.as_deref().is_some_and(|said| said.contains(why)), "{text}: {refused:?}"),
            }
        }
    }

    #[test]
    fn variables_are_looked_up_when_they_are_needed() {
        let text = "image = \"i\"\nmcp = { fs = { command = [\"x\"], env = { A = \"${X}-${Y}-${X}\" } } }";
        let mut image = read(text).expect("an image");
        let lookup = |name: &str| (name == "X").then(|| "1".to_owned());
        let error = expand(&mut image.clone(), lookup).expect_err("Y is not set");
        assert!(error.contains("needs the variable Y"), "{error}");
        let read = expand(&mut image, |name| Some(name.to_lowercase())).expect("both are set");
        assert_eq!(read, ["X", "Y", "X"]);
        assert_eq!(image.servers[0].env[0].1, "x-y-x");
    }
}
