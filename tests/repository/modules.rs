//! The modules of `src` import each other without cycles, and each is in the text above the module that contains it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules with their source text, by path: `["sshd", "plan"]`.
type Sources = BTreeMap<Vec<String>, String>;

/// The modules that each module imports. Both are children of the same module.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn sources(directory: &Path, path: &[String], found: &mut Sources) {
    for entry in fs::read_dir(directory).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut module = path.to_vec();
        if file.is_dir() {
            module.push(name);
            sources(&file, &module, found);
        } else if file.extension().is_some_and(|extension| extension == "rs") {
            if name != "mod" {
                module.push(name);
            }
            found.insert(module, without_comments_and_tests(&fs::read_to_string(&file).unwrap()));
        }
    }
}

fn without_comments_and_tests(source: &str) -> String {
    let product = source.split("\n#[cfg(test)]\n").next().unwrap();
    let lines = product.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The paths that begin with `crate::` or `super::`, with groups expanded: `super::{a, b::c}` is two paths.
fn paths(source: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["crate::", "super::"] {
        for (at, _) in source.match_indices(root) {
            let before = source[..at].chars().next_back();
            if !before.is_some_and(|before| before.is_alphanumeric() || matches!(before, '_' | ':')) {
                expand(&source[at..], &[], &mut found);
            }
        }
    }
    found
}

/// Reads the path at the start of `text`.
fn expand(text: &str, prefix: &[String], found: &mut Vec<Vec<String>>) {
    let mut path = prefix.to_vec();
    let mut rest = text.trim_start();
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            for part in members(group) {
                expand(part, &path, found);
            }
            return;
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 {
            path.push(rest[..end].to_owned());
        }
        match rest[end..].strip_prefix("::") {
            Some(next) if end > 0 => rest = next,
            _ => break,
        }
    }
    found.push(path);
}

/// The members of a group, up to its closing brace.
fn members(group: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
                if char == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// The longest prefix of a path that is a module, for a path in `module`.
fn resolve(path: &[String], module: &[String], sources: &Sources) -> Vec<String> {
    let mut target = if path[0] == "crate" { Vec::new() } else { module.to_vec() };
    for word in path.iter().skip(usize::from(path[0] == "crate")) {
        if word == "super" {
            target.pop();
            continue;
        }
        target.push(word.clone());
        if !sources.contains_key(&target) {
            target.pop();
            break;
        }
    }
    target
}

/// The imports between the children of each module. An item of a parent, or of a child, is no import here: a module
/// and its parent belong together.
fn graph(sources: &Sources) -> Graph {
    let mut graph = Graph::new();
    for (module, source) in sources {
        for path in paths(source) {
            let target = resolve(&path, module, sources);
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if common < module.len() && common < target.len() {
                let child = |path: &[String]| path[..=common].join("::");
                graph.entry(child(module)).or_default().insert(child(&target));
            }
        }
    }
    graph
}

/// A path of imports from a module back to itself.
fn cycle(graph: &Graph) -> Option<String> {
    let reach = |start: &String| {
        let mut routes: Vec<Vec<&String>> = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(route) = routes.pop() {
            for next in graph.get(*route.last()?).into_iter().flatten() {
                let mut route = route.clone();
                route.push(next);
                if next == start {
                    return Some(route.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" → "));
                }
                if seen.insert(next) {
                    routes.push(route);
                }
            }
        }
        None
    };
    graph.keys().find_map(reach)
}

#[test]
fn no_module_imports_itself_through_others() {
    let mut found = Sources::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut found);
    // Both use every other module.
    found.retain(|path, _| *path != ["lib"] && *path != ["main"]);
    assert!(found.len() > 50, "{} modules", found.len());
    let graph = graph(&found);
    assert!(graph["sshd::enable"].contains("sshd::plan") && graph["check"].contains("sshd"), "{graph:#?}");
    assert_eq!(cycle(&graph), None);
}

/// The modules that a source file contains, and that its own text (`//!`) does not name.
fn unnamed(source: &str) -> Vec<&str> {
    let text: String = source.lines().filter(|line| line.starts_with("//!")).collect();
    let is_named =
        |name: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
    let modules = source.lines().filter_map(|line| {
        let rest = ["", "pub ", "pub(crate) ", "pub(super) "]
            .iter()
            .find_map(|before| line.strip_prefix(before)?.strip_prefix("mod "))?;
        rest.strip_suffix(';')
    });
    modules.filter(|name| !is_named(name)).collect()
}

#[test]
fn each_module_is_in_the_text_above_it() {
    fn rust_files(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] }).collect()
    }
    let mut seen = 0;
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let source = fs::read_to_string(&file).unwrap();
        assert_eq!(unnamed(&source), [""; 0], "the text above {}", file.display());
        seen += usize::from(source.contains("\nmod "));
    }
    assert!(seen > 10, "{seen} files with modules");
    let source =
        "//! `a` reads, [`b_c`] writes.\n\nmod a;\npub mod b_c;\npub(crate) mod reads2;\nmod b;\nmod tests {";
    assert_eq!(unnamed(source), ["reads2", "b"]);
}

#[test]
fn finds_a_cycle() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<Vec<_>>();
    let found = |texts: &[(&str, &str)]| {
        let sources = texts.iter().map(|(path, text)| (module(path), without_comments_and_tests(text)));
        cycle(&graph(&sources.collect()))
    };
    assert_eq!(found(&[("a", "use crate::b::X;"), ("b", "")]), None);
    assert_eq!(found(&[("a", "use crate::b::X;"), ("b", "crate::a::f()")]).unwrap(), "a → b → a");
    assert_eq!(
        found(&[
            ("a", "use crate::{b, c::D};"),
            ("b", ""),
            ("c::d", "use crate::{\n    a::{E, F},\n};"),
            ("c", "")
        ])
        .unwrap(),
        "a → c → a"
    );
    let inside =
        [("f", ""), ("f::a", "use super::{b, c};"), ("f::b", ""), ("f::c", "use super::b::{self, X};")];
    assert_eq!(found(&inside), None);
    let inside = [
        ("f", ""),
        ("f::a", "use super::b;"),
        ("f::b", "use super::g::c;"),
        ("f::g", ""),
        ("f::g::c", "use super::super::a;"),
    ];
    assert_eq!(found(&inside).unwrap(), "f::a → f::b → f::g → f::a");
    // Comments and unit tests do not count.
    let text = "/// [`crate::a`]\n\n#[cfg(test)]\nmod tests { use crate::a; }";
    assert_eq!(found(&[("a", "use crate::b;"), ("b", text)]), None);
}
