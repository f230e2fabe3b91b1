//! Whether the user can start a login shell: its libraries, and the permissions on the way to them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::account::{Account, is_root};
use crate::check::fix::{CommandWord, Fix};
use crate::files;
use crate::limits;

/// Why the user cannot start a shell that can be executed. It is not run: the dynamic linker only lists its libraries.
pub(super) fn does_not_start(account: &Account, shell: &Path) -> Option<String> {
    let program = interpreter(shell).unwrap_or_else(|| shell.to_owned());
    if !is_root() || !is_dynamic(&program) {
        return None;
    }
    // Where the linker ignores the variable, this is all that the shell does.
    let command = account.credentials().command(&["LD_TRACE_LOADED_OBJECTS=1"], &program).ok()?;
    let ran = command.with(["-c", "true"]).run(limits::CHECK_TOOL).ok()?;
    let text = [ran.stdout, ran.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| {
        line.ends_with("=> not found")
            || line.contains("error while loading shared libraries")
            || line.contains(": version `") && line.contains("not found")
            || ["env: ", "setpriv: failed to execute env: "].iter().any(|program| line.starts_with(program))
    })?;
    let library = line.strip_suffix(" => not found");
    Some(library.map_or_else(
        || line.to_owned(),
        |library| format!("its library {library} does not exist, or {} cannot read it", account.name),
    ))
}

/// The program of the first line of a script.
fn interpreter(shell: &Path) -> Option<PathBuf> {
    let start = files::read_beginning(shell, limits::PROGRAM_START).ok()?;
    let text = String::from_utf8_lossy(start.strip_prefix(b"#!")?).into_owned();
    text.lines().next()?.split_whitespace().next().map(PathBuf::from)
}

/// Whether a program has a dynamic linker: its path is near the beginning.
fn is_dynamic(program: &Path) -> bool {
    let start = files::read_beginning(program, BEGINNING).unwrap_or_default();
    let names = |name: &[u8]| start.windows(name.len()).any(|part| part == name);
    start.starts_with(b"\x7fELF") && (names(b"/ld-linux") || names(b"/ld64.so") || names(b"/ld.so"))
}

/// The program headers and the path of the linker are in the first page.
const BEGINNING: u64 = 4096;

/// The places of the system's libraries. Their directories for one machine are below the first two.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/lib", "/usr/lib64", "/lib64"];

/// The fix for a shell, a library or a directory of the system whose mode keeps others out. `reason` can name a library.
pub(super) fn repair(shell: &Path, reason: &str) -> Option<Fix> {
    let shell = fs::canonicalize(shell).ok()?;
    let mut paths = vec![shell.clone()];
    let places = LIBRARIES.iter().flat_map(|base| {
        let inside = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
        let machine = |path: &PathBuf| path.to_string_lossy().contains("-linux-") && path.is_dir();
        inside.filter(machine).chain([PathBuf::from(base)]).collect::<Vec<_>>()
    });
    let library = reason.split([' ', ':']).find(|word| word.contains(".so"));
    for place in places {
        paths.extend(library.map(|name| place.join(name)));
        paths.push(place);
    }
    paths.iter().filter_map(|path| fs::canonicalize(path).ok()).find_map(|path| closed(&path, path == shell))
}

/// The fix for the first part of a path that other users cannot use, if it is root's and below a directory of the system.
fn closed(path: &Path, is_program: bool) -> Option<Fix> {
    let parts: Vec<_> = path.ancestors().collect();
    let part = parts.into_iter().rev().find(|part| {
        let Ok(file) = fs::metadata(part) else { return false };
        let needed = if file.is_dir() || is_program { 0o001 } else { 0o004 };
        file.mode() & needed == 0
    })?;
    let file = fs::metadata(part).ok()?;
    let is_systems = ["/usr", "/lib", "/lib64", "/bin", "/sbin"].iter().any(|base| part.starts_with(base));
    if file.uid() != 0 || !is_systems || part.starts_with("/usr/local") {
        return None;
    }
    Some(if file.is_dir() || file.mode() & 0o100 != 0 {
        Fix::command("chmod 0755", [CommandWord::Path(part)])
    } else {
        Fix::command("chmod 0644", [CommandWord::Path(part)])
    })
}
