//! Which sockets a container may open, as a seccomp profile: only those that its network sees.
//!
//! It is podman's own profile but for what makes sockets. Must not know: what the network does with them.

use std::path::Path;

use serde_json::{Value, json};

use crate::podman::{Podman, PodmanError};

/// Families of sockets that the network sees, or that stay in the container: UNIX, INET and INET6.
const FAMILIES: [u32; 3] = [1, 2, 10];
/// The family that asks the kernel, of the container's namespaces alone.
const NETLINK: u32 = 16;
/// The protocol of [`NETLINK`] that is the whole machine's.
const AUDIT: u32 = 9;
/// Other ways to make sockets, whose arguments a filter cannot see.
const UNSEEN: [&str; 4] = ["socketcall", "io_uring_setup", "io_uring_enter", "io_uring_register"];

/// `EAFNOSUPPORT`: what a kernel without a family says.
const NO_FAMILY: u32 = 97;
/// `ENOSYS`: what a kernel without a system call says, after which programs make sockets the usual way.
const NO_CALL: u32 = 38;

/// Writes the profile to `path`.
///
/// # Errors
/// [`PodmanError`] when podman does not say which profile it uses; or that cannot be read.
pub(crate) fn write(podman: &Podman, path: &Path) -> Result<(), PodmanError> {
    let verb = "info";
    let own = podman.run(&[verb, "--format", "{{.Host.Security.SECCOMPProfilePath}}"])?;
    let text = match own.trim() {
        "unconfined" => r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#.to_owned(),
        own => std::fs::read_to_string(own).map_err(|error| PodmanError::Answer {
            verb: verb.into(),
            what: format!("its seccomp profile {own:?} cannot be read: {error}; install the package containers-common"),
        })?,
    };
    let profile: Value = decklog_text::json::from_str(&text).map_err(|error| PodmanError::Answer {
        verb: verb.into(),
        what: format!("its seccomp profile {:?} is invalid: {error}", own.trim()),
    })?;
    std::fs::write(path, restricted(profile).to_string()).map_err(PodmanError::Spawn)
}

/// A profile with these sockets alone, and otherwise as it is.
fn restricted(mut profile: Value) -> Value {
    let rules = profile["syscalls"].as_array().cloned().unwrap_or_default();
    let is_ours = |name: &Value| name.as_str().is_some_and(|name| name == "socket" || UNSEEN.contains(&name));
    let mut kept: Vec<Value> = rules
        .into_iter()
        .filter_map(|mut rule| {
            if let Some(names) = rule.get_mut("names").and_then(Value::as_array_mut) {
                names.retain(|name| !is_ours(name));
                return (!names.is_empty()).then_some(rule);
            }
            // As older profiles have it.
            (!is_ours(&rule["name"])).then_some(rule)
        })
        .collect();
    let family = |value: u32, op: &str| json!({ "index": 0, "value": value, "op": op });
    let allow = |args: Value| json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args });
    let refuse = |names: Value, args: Value, error: u32| json!({ "names": names, "action": "SCMP_ACT_ERRNO", "args": args, "errnoRet": error });
    // A filter refuses a rule that says what is so without it, and a "not" beside an "is".
    let audit = |op: &str| json!([family(NETLINK, "SCMP_CMP_EQ"), { "index": 2, "value": AUDIT, "op": op }]);
    if profile["defaultAction"] != "SCMP_ACT_ALLOW" {
        kept.extend(FAMILIES.map(|value| allow(json!([family(value, "SCMP_CMP_EQ")]))));
        kept.extend(["SCMP_CMP_LT", "SCMP_CMP_GT"].map(|op| allow(audit(op))));
    }
    kept.push(refuse(json!(["socket"]), audit("SCMP_CMP_EQ"), NO_FAMILY));
    let others = (0..NETLINK).filter(|value| !FAMILIES.contains(value));
    kept.extend(others.map(|value| refuse(json!(["socket"]), json!([family(value, "SCMP_CMP_EQ")]), NO_FAMILY)));
    kept.push(refuse(json!(["socket"]), json!([family(NETLINK, "SCMP_CMP_GT")]), NO_FAMILY));
    kept.push(refuse(json!(UNSEEN), json!([]), NO_CALL));
    profile["syscalls"] = kept.into();
    without_32_bits(&mut profile);
    profile
}

/// Takes away the architecture whose sockets are all made by [`UNSEEN`]'s first: a filter that lets one family through there
/// lets all. Its programs do not run then.
fn without_32_bits(value: &mut Value) {
    let name = "SCMP_ARCH_X86";
    match value {
        Value::Array(values) => {
            values.retain(|value| value != name);
            values.iter_mut().for_each(without_32_bits);
        }
        Value::Object(values) => values.values_mut().for_each(without_32_bits),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_sockets_is_another() {
        let any = |names: &[&str]| json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": [] });
        let given = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] }],
            "syscalls": [
                any(&["read", "socket", "socketcall", "io_uring_setup", "socketpair"]),
                any(&["socket"]),
                { "name": "socket", "action": "SCMP_ACT_ALLOW" },
                { "name": "write", "action": "SCMP_ACT_ALLOW" },
            ],
        });
        let restricted = super::restricted(given);
        assert_eq!(restricted["defaultAction"], "SCMP_ACT_ERRNO");
        let architectures = json!([{ "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X32"] }]);
        assert_eq!(restricted["archMap"], architectures);
        let rules = restricted["syscalls"].as_array().expect("rules");
        assert_eq!(rules[0], any(&["read", "socketpair"]));
        assert_eq!(rules[1], json!({ "name": "write", "action": "SCMP_ACT_ALLOW" }));
        let allowed: Vec<_> = rules[2..].iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW").collect();
        let families: Vec<_> = allowed.iter().map(|rule| rule["args"][0]["value"].as_u64()).collect();
        assert_eq!(families, [Some(1), Some(2), Some(10), Some(16), Some(16)]);
        assert!(
            allowed.iter().all(|rule| rule["args"][0]["op"] == "SCMP_CMP_EQ" && rule["names"] == json!(["socket"]))
        );
        let refused = |family: u64| {
            rules.iter().any(|rule| {
                let argument = &rule["args"][0];
                let limit = argument["value"].as_u64().unwrap_or(u64::MAX);
                rule["action"] == "SCMP_ACT_ERRNO"
                    && rule["args"].as_array().is_some_and(|args| args.len() == 1)
                    && match argument["op"].as_str() {
                        Some("SCMP_CMP_GT") => family > limit,
                        _ => family == limit,
                    }
            })
        };
        let unconfined = super::restricted(json!({ "defaultAction": "SCMP_ACT_ALLOW" }));
        let rules_of_it = unconfined["syscalls"].as_array().expect("rules");
        assert!(rules_of_it.iter().all(|rule| rule["action"] == "SCMP_ACT_ERRNO"), "{unconfined}");
        let refused: Vec<u64> = (0..64).filter(|family| refused(*family)).collect();
        assert_eq!(refused, (0..64).filter(|family| ![1, 2, 10, 16].contains(family)).collect::<Vec<_>>());
    }
}
