//! `decklog build`: when it builds, when it does not, and what it says when it cannot.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::world::{configure, podman};
use crate::env::{Ran, TestEnv};

/// An image without a program in it, which takes no time.
const DOCKERFILE: &str = "FROM scratch\nARG FLAVOUR=plain\nCOPY it /it\nLABEL flavour=$FLAVOUR\n";

/// A world with an image of the context `box` in the working directory; what was built is removed at the end.
struct Small {
    env: TestEnv,
    /// Nobody else's: podman's storage is that of all tests.
    name: String,
    /// What podman calls an image with programs in it.
    coding: String,
    tags: RefCell<BTreeSet<String>>,
}

impl Small {
    fn new(test: &str) -> Self {
        let mut env = TestEnv::new();
        configure(&mut env, "fs = [\"x\"]", "");
        let name = format!("{test}-{}", std::process::id());
        std::fs::create_dir(env.work().join("box")).unwrap();
        env.write("box/Dockerfile", DOCKERFILE);
        env.write("box/it", &name);
        let coding = env.decklog(&["build"]).expect(0).stdout.trim_end().to_owned();
        let small = Self { env, name, coding, tags: RefCell::default() };
        small.set("");
        small
    }

    /// What the image is, besides its dockerfile.
    fn set(&self, more: &str) {
        let dockerfile = self.env.work().join("box/Dockerfile");
        let text = format!("[images.{}]\ndockerfile = {dockerfile:?}\n{more}\n", self.name);
        std::fs::write(self.env.home().join(".config/decklog/config.toml"), text).unwrap();
    }

    fn build(&self, more: &[&str]) -> Ran {
        self.env.decklog(&[&["build"], more].concat())
    }

    /// Builds, which must work, and gives the tag, the image's id and the story.
    fn built(&self, more: &[&str]) -> (String, String, String) {
        let ran = self.build(more).expect(0);
        let tag = ran.stdout.trim_end().to_owned();
        assert!(tag.starts_with(&format!("localhost/decklog/{}:", self.name)), "{tag}");
        let id = podman(&self.env, &["image", "inspect", "--format", "{{.Id}}", &tag]);
        self.tags.borrow_mut().insert(tag.clone());
        (tag, id.trim().to_owned(), ran.stderr)
    }

    /// Builds, which must not work: with this in the story, and without leaving an image.
    fn refused(&self, told: &[&str]) {
        let ran = self.build(&[]).expect(2);
        assert_eq!(ran.stdout, "");
        for told in told.iter().chain(&[self.name.as_str()]) {
            assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
        }
        if let Some(tag) = ran.stderr.lines().find_map(|line| line.strip_prefix("building ")) {
            let exists = self.env.command("podman").args(["image", "exists", tag]).status().unwrap();
            assert_eq!(exists.code(), Some(1), "{tag}");
        }
        assert!(self.env.sessions().is_empty());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        for tag in self.tags.take() {
            podman(&self.env, &["rmi", "--force", &tag]);
        }
    }
}

#[test]
fn an_image_is_built_once_and_anew_when_it_is_another_or_that_is_asked_for() {
    let small = Small::new("once");
    let (tag, id, story) = small.built(&[]);
    assert!(story.contains(&format!("building {tag}")) && story.contains("COPY it /it"), "{story}");
    assert_eq!(small.built(&[]), (tag.clone(), id.clone(), format!("image {} is there as it should be\n", small.name)));

    // All the same, and yet made again: podman would have known each of its steps.
    let (same, other, story) = small.built(&["--image", &small.name, "--no-cache"]);
    assert!(same == tag && other != id, "{story}");
    podman(&small.env, &["rmi", &id]);
    assert!(story.contains(&format!("building {tag}")) && !story.contains("Using cache"), "{story}");

    small.set("build-args = { FLAVOUR = \"sour\" }");
    let (sour, _, story) = small.built(&[]);
    assert!(sour != tag && story.contains("building"), "{sour}: {story}");
    let flavour = |tag: &str| podman(&small.env, &["image", "inspect", "--format", "{{.Labels.flavour}}", tag]);
    assert_eq!((flavour(&sour).trim(), flavour(&tag).trim()), ("sour", "plain"));
    // Back again, it is still there.
    small.set("");
    assert_eq!(small.built(&[]).0, tag);
    small.env.write("box/it", "another\n");
    assert!(![tag, sour].contains(&small.built(&[]).0));
}

#[test]
fn a_build_that_fails_says_why_and_changes_nothing() {
    let small = Small::new("fails");
    let (tag, id, _) = small.built(&[]);
    small.env.write("box/Dockerfile", format!("{DOCKERFILE}COPY nothing-like-it /there\n"));
    small.refused(&["building localhost/decklog/", "podman build", "nothing-like-it", "hint"]);
    small.env.write("box/Dockerfile", "FORM scratch\n");
    small.refused(&["podman build", "no FROM statement", "hint"]);
    small.env.write("box/Dockerfile", format!("FROM {}\nRUN echo said on the way; exit 3\n", small.coding));
    small.refused(&["said on the way", "podman build", "exit status 3", "hint"]);
    // What was there stands.
    small.env.write("box/Dockerfile", DOCKERFILE);
    let (again, same, story) = small.built(&[]);
    assert_eq!((again, same), (tag, id), "{story}");
    assert!(story.contains("is there as it should be"), "{story}");
}

#[test]
fn what_an_image_is_made_of_has_to_be_there() {
    let small = Small::new("missing");
    let at = |path: &str| small.env.work().join(path).display().to_string();
    small.set("context = \"elsewhere\"");
    let elsewhere = small.env.home().join(".config/decklog/elsewhere").display().to_string();
    small.refused(&[&elsewhere, "No such file or directory", "hint"]);
    small.env.write("box/.dockerignore", "[\n");
    small.set("");
    small.refused(&[&at("box/.dockerignore")]);
    std::fs::remove_file(small.env.work().join("box/.dockerignore")).unwrap();
    std::fs::remove_file(small.env.work().join("box/Dockerfile")).unwrap();
    small.refused(&[&at("box/Dockerfile"), "No such file or directory", "hint"]);
    let unknown = small.build(&["--image", "nothing"]).expect(2);
    assert!(unknown.stderr.contains("\"nothing\"") && unknown.stderr.contains(&small.name), "{}", unknown.stderr);
    // Nor is one that is named and that nobody has.
    let config = small.env.home().join(".config/decklog/config.toml");
    std::fs::write(config, "[images.named]\nimage = \"localhost/no-such-image:1\"\n").unwrap();
    let named = small.build(&[]).expect(2);
    for told in ["image \"named\" is not made: podman pull", "no-such-image", "decklog build --image named"] {
        assert!(named.stderr.contains(told), "{told}: {}", named.stderr);
    }
}
