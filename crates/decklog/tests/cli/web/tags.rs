//! What HTML is made of: its tags and their attributes, and whether they are among those that decklog makes.

use serde_json::Value;

/// Attributes that a tag of the API may have, by its name.
fn allowed(tag: &str) -> Option<&'static [&'static str]> {
    Some(match tag {
        "p" | "h3" | "h4" | "h5" | "h6" | "em" | "strong" | "del" | "ul" | "li" | "blockquote" | "code" | "table"
        | "thead" | "tbody" | "tr" | "hr" | "br" | "mark" => &[],
        "pre" | "span" | "i" => &["class"],
        "ol" => &["start"],
        "td" | "th" => &["style"],
        "a" => &["href", "rel"],
        "input" => &["disabled", "type", "checked"],
        _ => return None,
    })
}

/// A tag: its name in small letters, with `/` where it ends an element, and its attributes.
pub(super) type Tag = (String, Vec<(String, String)>);

/// Finds tags as a browser would.
pub(super) fn tags(html: &str) -> Vec<Tag> {
    let mut all = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        // A browser takes nothing else for a tag, nor for a comment.
        if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?')) {
            continue;
        }
        let end = rest[1..].find(|c: char| c.is_whitespace() || matches!(c, '>' | '/')).map_or(rest.len(), |at| at + 1);
        let name = rest[..end].to_ascii_lowercase();
        rest = &rest[end..];
        let mut attributes = Vec::new();
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
            if rest.is_empty() || rest.starts_with('>') {
                break;
            }
            let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/')).unwrap_or(rest.len());
            let key = rest[..end.max(1)].to_ascii_lowercase();
            rest = rest[end.max(1)..].trim_start();
            let mut value = "";
            if let Some(given) = rest.strip_prefix('=') {
                rest = given.trim_start();
                let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
                rest = &rest[quote.map_or(0, char::len_utf8)..];
                let end = match quote {
                    Some(quote) => rest.find(quote),
                    None => rest.find(|c: char| c.is_whitespace() || c == '>'),
                };
                let end = end.unwrap_or(rest.len());
                value = &rest[..end];
                rest = &rest[(end + usize::from(quote.is_some())).min(rest.len())..];
            }
            attributes.push((key, value.to_owned()));
        }
        all.push((name, attributes));
    }
    all
}

/// Fails unless `html` has only tags that decklog makes, whose links lead to pages and tell nothing, and nothing in it
/// turns the text around.
#[track_caller]
pub(super) fn check(html: &str, place: &str) {
    for (name, attributes) in tags(html) {
        let known = allowed(name.trim_start_matches('/'));
        let known = known.unwrap_or_else(|| panic!("{place}: <{name}> in {html}"));
        for (key, value) in &attributes {
            assert!(known.contains(&key.as_str()), "{place}: <{name} {key}={value:?}> in {html}");
            let is_fine = match key.as_str() {
                "href" => ["http://", "https://", "mailto:"].iter().any(|start| value.starts_with(start)),
                "rel" => value == "noopener noreferrer",
                "style" => {
                    value.starts_with("text-align: ")
                        && value.bytes().all(|b| b.is_ascii_lowercase() || b"- :".contains(&b))
                }
                "type" => value == "checkbox",
                _ => value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b' '),
            };
            assert!(is_fine, "{place}: <{name} {key}={value:?}> in {html}");
        }
        let has = |wanted: &str| attributes.iter().any(|(key, _)| key == wanted);
        assert!(name != "a" || has("href") && has("rel"), "{place}: {html}");
    }
    let acts = |c: char| {
        c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!html.contains(acts), "{place}: {html:?}");
}

/// Checks all HTML in an answer, and says how many pieces there were.
#[track_caller]
pub(super) fn check_all(value: &Value, place: &str) -> usize {
    match value {
        Value::Array(all) => all.iter().map(|one| check_all(one, place)).sum(),
        Value::Object(all) => {
            let mut count = 0;
            for (key, value) in all {
                let place = format!("{place} {key}");
                match value {
                    Value::String(html) if key.contains("html") => {
                        check(html, &place);
                        count += 1;
                    }
                    // Lines of a change: mark, numbers before and after, and the line.
                    Value::Array(rows) if key == "rows" => {
                        for row in rows {
                            check(row[3].as_str().unwrap(), &place);
                            count += 1;
                        }
                    }
                    _ => count += check_all(value, &place),
                }
            }
            count
        }
        _ => 0,
    }
}

#[test]
fn tags_are_found_as_a_browser_finds_them() {
    for (html, expected) in [
        ("a < b &lt;c>", ""),
        ("<P>x</p>", "p;/p;"),
        ("<img src=x onerror=alert(1)>", "img src=x onerror=alert(1);"),
        ("<svg/onload=alert(1)>", "svg onload=alert(1);"),
        ("<a href=\"x>y\" rel='z'>", "a href=x>y rel=z;"),
        ("<a title='\"'href=x", "a title=\" href=x;"),
        ("<!--<b>", "!--<b;"),
    ] {
        let mut found = String::new();
        for (name, attributes) in tags(html) {
            found.push_str(&name);
            attributes.iter().for_each(|(key, value)| found.push_str(&format!(" {key}={value}")));
            found.push(';');
        }
        assert_eq!(found, expected, "{html}");
    }
}
