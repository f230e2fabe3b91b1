//! Checks which key logins sshd allows for the user, from `sshd -T`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::running::Running;
use crate::account::{Account, account_of};
use crate::check::check_id::CheckId;
use crate::check::fix::Fix;
use crate::check::request::{RunOptions, Target, seconds};
use crate::check::runner::{Answer, Finding, Runner, blocking};
use crate::check::settings::Settings;
use crate::check::sockets;
use crate::files;
use crate::limits;
use crate::wildcard::matches;

/// The key types that can be pushed (from the API), and the signature algorithms that sshd needs for them.
const PUSHED: [(&str, &[&str]); 2] =
    [("ed25519", &["ssh-ed25519"]), ("RSA", &["rsa-sha2-512", "rsa-sha2-256"])];

/// The only key exchanges that the console's browser client supports.
const EXCHANGES: [&str; 3] = ["ecdh-sha2-nistp256", "ecdh-sha2-nistp384", "ecdh-sha2-nistp521"];

/// Checks the settings that can reject a valid key.
pub(crate) async fn login(
    runner: &Runner,
    options: &RunOptions,
    target: &Target<'_>,
    settings: &Finding<Settings>,
    account: &Finding<Account>,
    running: &Finding<Running>,
) {
    runner.check(CheckId::SshdPubkey, settings, async |settings| pubkey(settings)).await;
    runner.check(CheckId::SshdMethods, settings, async |settings| methods(settings)).await;
    runner
        .check(CheckId::SshdAccess, (settings, account), async |(settings, account)| {
            access(settings, account)
        })
        .await;
    runner.check(CheckId::SshdAlgorithms, settings, async |settings| algorithms(settings)).await;
    runner.check(CheckId::SshdExchanges, settings, async |settings| exchanges(settings)).await;
    runner.check(CheckId::SshdTries, settings, async |settings| tries(settings)).await;
    runner.check(CheckId::SshdRevoked, settings, async |settings| revoked(settings, target.root)).await;
    runner
        .check(CheckId::SshdSession, (settings, account), async |(settings, account)| {
            session(settings, account, target.root)
        })
        .await;
    runner.check(CheckId::SshdLimits, settings, async |settings| limits_of(settings, options.timeout)).await;
    runner.check(CheckId::SshdMatch, settings, async |settings| blocks(settings, account.get())).await;
    runner
        .check(CheckId::SshdPort, settings, async |settings| {
            let (settings, root, running) =
                (settings.clone(), target.root.to_owned(), running.get().copied());
            blocking(move || port(&settings, &root, running)).await
        })
        .await;
}

fn pubkey(settings: &Settings) -> Answer<()> {
    if settings.is("pubkeyauthentication", "yes") {
        Answer::ok("sshd accepts public keys", ())
    } else {
        settings.refuses(
            "pubkeyauthentication",
            "PubkeyAuthentication is no: sshd accepts no public keys",
            "set PubkeyAuthentication yes",
        )
    }
}

fn methods(settings: &Settings) -> Answer<()> {
    let lists: Vec<_> = settings.all("authenticationmethods").flat_map(|line| line.split(' ')).collect();
    let plain = |method: &str| method.split(':').next().unwrap_or_default() == "publickey";
    let enough = |list: &&str| *list == "any" || plain(list);
    let change = "add \"publickey\" as a list of its own to AuthenticationMethods";
    if lists.is_empty() || lists.iter().any(enough) {
        Answer::ok("a key is enough to log in", ())
    } else if lists.iter().any(|list| list.split(',').any(plain)) {
        let note = format!(
            "AuthenticationMethods requires more than a key: {}; not every client can do that",
            lists.join(" ")
        );
        Answer::warn(note, settings.fix("authenticationmethods", change), ())
    } else {
        let note = format!("AuthenticationMethods does not include publickey: {}", lists.join(" "));
        settings.refuses("authenticationmethods", &note, change)
    }
}

/// `allowed_user` of OpenSSH's `auth.c`, in the same order. The client is not known here, so USER@HOST gives only a
/// warning.
fn access(settings: &Settings, account: &Account) -> Answer<()> {
    let user = |pattern: &str| {
        let pattern = pattern.rsplit_once('@').map_or(pattern, |(user, _)| user);
        matches(account.name.as_bytes(), pattern.as_bytes())
    };
    let group =
        |pattern: &str| account.groups.iter().any(|group| matches(group.as_bytes(), pattern.as_bytes()));
    let from_anywhere = |pattern: &str| pattern.rsplit_once('@').is_none_or(|(_, host)| host == "*");
    let name = &account.name;
    let mut some_clients = None;
    for (keyword, shown, groups, allows) in [
        ("denyusers", "DenyUsers", false, false),
        ("allowusers", "AllowUsers", false, true),
        ("denygroups", "DenyGroups", true, false),
        ("allowgroups", "AllowGroups", true, true),
    ] {
        let patterns: Vec<_> = settings.all(keyword).flat_map(|line| line.split(' ')).collect();
        let named: Vec<_> =
            patterns.iter().copied().filter(|one| if groups { group(one) } else { user(one) }).collect();
        let everywhere = named.iter().any(|one| groups || from_anywhere(one));
        if allows && named.is_empty() && !patterns.is_empty() {
            let what = if groups { "a group of " } else { "" };
            let change = format!("add {what}{name} to {shown}");
            return settings.refuses(keyword, &format!("{shown} does not include {what}{name}"), &change);
        }
        if !allows && everywhere {
            let what = if groups { "a group of " } else { "" };
            let change = format!("remove {what}{name} from {shown}");
            return settings.refuses(keyword, &format!("{shown} includes {what}{name}"), &change);
        }
        if !named.is_empty() && !everywhere {
            some_clients.get_or_insert_with(|| format!("{shown} has {}", named.join(" ")));
        }
    }
    let root = settings.one("permitrootlogin");
    match (account.uid, root) {
        (0, "no" | "forced-commands-only") => settings.refuses(
            "permitrootlogin",
            &format!("PermitRootLogin is {root}: sshd refuses root with a pushed key"),
            "log in as another user, or set PermitRootLogin prohibit-password",
        ),
        _ => match some_clients {
            Some(list) => Answer::warn(
                format!("{list}: the result depends on where {name} connects from"),
                Fix::advice(
                    "compare the client's address with that list; outside.network has the console's addresses",
                ),
                (),
            ),
            None => Answer::ok(format!("sshd allows {name}"), ()),
        },
    }
}

fn algorithms(settings: &Settings) -> Answer<()> {
    let taken = settings.accepted_algorithms();
    let refused: Vec<_> =
        PUSHED.iter().filter(|(_, names)| !names.iter().any(|name| taken.contains(name))).collect();
    let keyword = if settings.one("pubkeyacceptedalgorithms").is_empty() {
        "PubkeyAcceptedKeyTypes"
    } else {
        "PubkeyAcceptedAlgorithms"
    };
    let change = |names: &[&str]| format!("add {} to {keyword} or to the crypto policy", names.join(","));
    let lower = keyword.to_ascii_lowercase();
    match refused.as_slice() {
        [] => Answer::ok("sshd accepts both types of keys that can be pushed: ed25519 and RSA", ()),
        [(kind, names)] => Answer::warn(
            format!("sshd does not accept pushed {kind} keys"),
            settings.fix(&lower, &change(names)),
            (),
        ),
        _ => settings.refuses(
            &lower,
            "sshd accepts no type of key that can be pushed",
            &change(&["ssh-ed25519"]),
        ),
    }
}

fn exchanges(settings: &Settings) -> Answer<()> {
    let offered = || settings.all("kexalgorithms").flat_map(|list| list.split(','));
    if offered().any(|name| EXCHANGES.contains(&name)) {
        Answer::ok("sshd offers a key exchange that the console's client supports", ())
    } else {
        Answer::warn(
            format!(
                "the console's client supports none of KexAlgorithms; it supports {}",
                EXCHANGES.join(", ")
            ),
            settings.fix("kexalgorithms", "add ecdh-sha2-nistp256 to KexAlgorithms"),
            (),
        )
    }
}

fn tries(settings: &Settings) -> Answer<()> {
    const FEW: u32 = 3;
    match settings.one("maxauthtries").parse::<u32>() {
        Ok(tries) if tries < FEW => Answer::warn(
            format!("MaxAuthTries is {tries}: sshd disconnects a client whose agent offers {tries} other keys first"),
            settings.fix(
                "maxauthtries",
                "connect with ssh -o IdentitiesOnly=yes -i KEY, which offers only the pushed key, or set MaxAuthTries 6",
            ),
            (),
        ),
        Ok(tries) => Answer::ok(
            format!("a client can offer {tries} keys; with more in its agent: ssh -o IdentitiesOnly=yes -i KEY"),
            (),
        ),
        Err(_) => Answer::skip("sshd does not print its MaxAuthTries"),
    }
}

/// sshd refuses each key if it cannot read the list of revoked keys.
fn revoked(settings: &Settings, root: &Path) -> Answer<()> {
    /// The smallest RSA key that eic-keys accepts, in bits.
    const SMALLEST: u32 = 2048;
    let list = settings.one("revokedkeys");
    if !matches!(list, "" | "none") {
        let path = Path::new(list);
        match files::open(&root.join(path.strip_prefix("/").unwrap_or(path))).and_then(line_without_key) {
            Ok(None) => {}
            Ok(Some(line)) => {
                let note = format!(
                    "RevokedKeys {list} line {line} is not a public key, so that sshd refuses each key"
                );
                let change = format!("remove that line from {list}, or remove RevokedKeys");
                return settings.refuses("revokedkeys", &note, &change);
            }
            Err(error) => {
                let note =
                    format!("RevokedKeys {list} cannot be read, so that sshd refuses each key: {error}");
                let change = format!("create {list} (it can be empty), or remove RevokedKeys");
                return settings.refuses("revokedkeys", &note, &change);
            }
        }
    }
    match settings.one("requiredrsasize").parse::<u32>() {
        Ok(size) if size > SMALLEST => Answer::warn(
            format!("RequiredRSASize is {size}: sshd refuses pushed RSA keys with fewer bits"),
            settings.fix("requiredrsasize", "push an ed25519 key, or set RequiredRSASize 2048"),
            (),
        ),
        _ if matches!(list, "" | "none") => Answer::ok("sshd has no list of revoked keys", ()),
        _ => Answer::ok(format!("sshd can read the list of revoked keys {list}"), ()),
    }
}

/// The number of the first line of a list of revoked keys that cannot be a key: sshd then fails to read the list. A key
/// revocation list in OpenSSH's binary format (`PROTOCOL.krl`) has no lines, and is not examined.
fn line_without_key(file: File) -> io::Result<Option<usize>> {
    const BINARY: &[u8] = b"SSHKRL\n\0";
    let mut list = Vec::new();
    file.take(limits::REVOKED_KEYS).read_to_end(&mut list)?;
    if list.starts_with(BINARY) {
        return Ok(None);
    }
    let is_wrong = |line: &[u8]| {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        match (words.next(), words.next()) {
            (None, _) => false,
            (Some(first), _) if first.starts_with(b"#") => false,
            // The names of all types of keys have a hyphen.
            (Some(first), second) => !first.contains(&b'-') || second.is_none(),
        }
    };
    // The last line can be cut.
    let whole =
        list.iter().rposition(|byte| *byte == b'\n').and_then(|end| list.get(..end)).unwrap_or_default();
    Ok(whole.split(|byte| *byte == b'\n').position(is_wrong).map(|line| line.saturating_add(1)))
}

fn session(settings: &Settings, account: &Account, root: &Path) -> Answer<()> {
    if settings.is("maxsessions", "0") {
        return settings.refuses(
            "maxsessions",
            "MaxSessions is 0: sshd opens no session",
            "set MaxSessions 10",
        );
    }
    let command = settings.one("forcecommand");
    let forced = !matches!(command, "" | "none");
    let sftp = command.split_whitespace().next() == Some("internal-sftp");
    let chroot = chroot(settings, account);
    if let Some(directory) = &chroot {
        if let Some(reason) = bad_chroot(root, directory) {
            let note = format!("sshd refuses ChrootDirectory {}: {reason}", directory.display());
            let change = "have root own each directory of that path, and no other user write to it";
            return settings.refuses("chrootdirectory", &note, change);
        }
        let shell = directory.join(account.shell.strip_prefix("/").unwrap_or(&account.shell));
        if !sftp && !is_program(&below(root, &shell)) {
            let note = format!("there is no shell {} in ChrootDirectory", shell.display());
            let change = "install a shell there, set ForceCommand internal-sftp, or remove ChrootDirectory";
            return settings.refuses("chrootdirectory", &note, change);
        }
    }
    if sftp {
        return Answer::warn(
            "ForceCommand is internal-sftp: only sftp works, without a shell",
            settings.fix("forcecommand", "remove ForceCommand if the user is to have a shell"),
            (),
        );
    }
    let program = command.split_whitespace().next().unwrap_or_default().trim_matches(['"', '\'']);
    if forced && program.starts_with('/') {
        let inside = chroot.as_deref().unwrap_or(Path::new("/")).join(program.trim_start_matches('/'));
        if !is_program(&below(root, &inside)) {
            let note = format!("ForceCommand runs {}, which is not a program", inside.display());
            return settings.refuses("forcecommand", &note, "install that program, or remove ForceCommand");
        }
    }
    if forced {
        return Answer::ok(format!("each session runs ForceCommand: {command}"), ());
    }
    Answer::ok("sshd opens sessions", ())
}

/// `ChrootDirectory` for the user (TOKENS in `sshd_config(5)`).
fn chroot(settings: &Settings, account: &Account) -> Option<PathBuf> {
    let value = settings.one("chrootdirectory");
    let parts = value.split("%%").map(|part| {
        part.replace("%h", &account.home.to_string_lossy())
            .replace("%u", &account.name)
            .replace("%U", &account.uid.to_string())
    });
    let directory = parts.collect::<Vec<_>>().join("%");
    (!matches!(value, "" | "none")).then(|| directory.into())
}

/// `safely_chroot` of OpenSSH's `session.c`: root owns each directory of the path, and no other user can write to it.
fn bad_chroot(root: &Path, directory: &Path) -> Option<String> {
    if !directory.is_absolute() {
        return Some("it is not an absolute path".to_owned());
    }
    let parts: Vec<_> = directory.ancestors().collect();
    parts.into_iter().rev().find_map(|part| {
        let shown = part.display();
        match fs::metadata(below(root, part)) {
            Err(error) => Some(format!("{shown}: {error}")),
            Ok(metadata) if !metadata.is_dir() => Some(format!("{shown} is not a directory")),
            Ok(metadata) if metadata.uid() != 0 => {
                Some(format!("{shown} is owned by {}", account_of(metadata.uid())))
            }
            Ok(metadata) if metadata.mode() & 0o022 != 0 => {
                Some(format!("users other than root can write to {shown}"))
            }
            Ok(_) => None,
        }
    })
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.mode() & 0o111 != 0)
}

fn limits_of(settings: &Settings, timeout: Duration) -> Answer<()> {
    /// Fewer unauthenticated connections are used up by a scanner.
    const FEW: u32 = 3;
    let grace = settings.one("logingracetime").parse().map(Duration::from_secs).unwrap_or_default();
    if !grace.is_zero() && grace <= timeout {
        return Answer::warn(
            format!("LoginGraceTime is {} s, and eic-keys may take {} s", grace.as_secs(), seconds(timeout)),
            settings.fix("logingracetime", "set LoginGraceTime 120"),
            (),
        );
    }
    let startups = settings.one("maxstartups");
    let first = startups.split(':').next().and_then(|first| first.parse::<u32>().ok());
    if first.is_some_and(|first| first < FEW) {
        return Answer::warn(
            format!("MaxStartups is {startups}: a few clients that do not log in keep others out"),
            settings.fix("maxstartups", "set MaxStartups 10:30:100"),
            (),
        );
    }
    // Since OpenSSH 9.9.
    if settings.is("refuseconnection", "yes") {
        return settings.refuses(
            "refuseconnection",
            "RefuseConnection is yes: sshd closes each connection",
            "remove RefuseConnection",
        );
    }
    if settings.is("persourcemaxstartups", "0") {
        return settings.refuses(
            "persourcemaxstartups",
            "PerSourceMaxStartups is 0: sshd drops each connection",
            "set PerSourceMaxStartups none",
        );
    }
    Answer::ok(format!("LoginGraceTime is {} s, MaxStartups {startups}", grace.as_secs()), ())
}

/// The result for other clients. The settings of all other checks are those for a client that no such block names.
fn blocks(settings: &Settings, account: Option<&Account>) -> Answer<()> {
    let blocks = settings.client_blocks();
    let is_root = account.is_some_and(|account| account.uid == 0);
    let refusing = blocks.iter().find_map(|block| {
        let line = block.lines.iter().find(|(keyword, value)| can_refuse(keyword, value, is_root))?;
        Some((block, line))
    });
    match refusing {
        None => Answer::ok("no Match block refuses keys for some clients only", ()),
        Some((block, (keyword, value))) => Answer::warn(
            format!(
                "the result depends on where the client connects from: {}, \"Match {}\", sets {keyword} {value}",
                block.origin, block.criteria
            ),
            Fix::advice("if logins fail from such a client only, change that block, then reload sshd"),
            (),
        ),
    }
}

/// Whether a line in a `Match` block can refuse a pushed key that is accepted without it.
fn can_refuse(keyword: &str, value: &str, is_root: bool) -> bool {
    match keyword {
        "pubkeyauthentication" => value.eq_ignore_ascii_case("no"),
        "refuseconnection" => value.eq_ignore_ascii_case("yes"),
        "permitrootlogin" => is_root && ["no", "forced-commands-only"].contains(&value),
        "authenticationmethods" => !value.split(' ').any(|list| matches!(list, "any" | "publickey")),
        "forcecommand" | "chrootdirectory" | "revokedkeys" => !value.eq_ignore_ascii_case("none"),
        "maxsessions" => value == "0",
        "authorizedkeyscommand" => !value.contains("eic-keys"),
        "allowusers" | "denyusers" | "allowgroups" | "denygroups" => true,
        _ => false,
    }
}

/// Compares the sockets of the running sshd with what clients use, and then its configuration: sshd uses that when it
/// is started again, unless it gets its sockets from systemd.
fn port(settings: &Settings, root: &Path, running: Option<Running>) -> Answer<()> {
    let process = running.and_then(|running| running.process);
    let from_systemd = if running.is_some() { sockets::of_systemd(root) } else { Vec::new() };
    let mut open = process.map(|process| sockets::listening(root, process)).unwrap_or_default();
    if open.is_empty() {
        open.clone_from(&from_systemd);
    }
    let reload = &settings.source.reload;
    let bindable = sockets::bindable(settings);
    if let (true, Err(change)) = (open.is_empty(), &bindable) {
        return Answer::fail(
            "sshd cannot start: no ListenAddress is an address of this system",
            Fix::advice(change),
        );
    }
    let configured: Vec<SocketAddr> =
        settings.all("listenaddress").filter_map(|address| address.parse().ok()).collect();
    let now = if open.is_empty() { &configured } else { &open };
    if now.is_empty() {
        return Answer::skip("the addresses that sshd listens on are not known");
    }
    // A socket of systemd for an IPv6 address accepts IPv4, too, unless its unit says otherwise.
    let only_ipv6 = from_systemd.is_empty();
    if let Some((note, change)) = unreachable(now, only_ipv6) {
        return Answer::warn(note, Fix::advice(format!("{change}, then: {reload}")), ());
    }
    let later = "works now, but breaks at sshd's next restart";
    match (unreachable(&configured, only_ipv6), bindable) {
        _ if !from_systemd.is_empty() => {}
        (Some((note, change)), _) => {
            return Answer::warn(format!("{later}: {note}"), Fix::advice(change), ());
        }
        (None, Err(change)) => return Answer::warn(format!("{later}: {change}"), Fix::advice(change), ()),
        (None, Ok(())) => {}
    }
    Answer::ok(format!("sshd listens on {}", shown(now)), ())
}

fn shown(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why clients may not reach these addresses, and what to change. `only_ipv6`: a socket for IPv6 accepts no IPv4.
fn unreachable(addresses: &[SocketAddr], only_ipv6: bool) -> Option<(String, &'static str)> {
    let (all, none) = (|is: fn(&SocketAddr) -> bool| addresses.iter().all(is), addresses.is_empty());
    let shown = shown(addresses);
    if none {
        None
    } else if all(|address| address.ip().is_loopback()) {
        Some((
            format!("sshd listens on {shown} only: clients cannot connect from outside"),
            "remove ListenAddress, or set ListenAddress 0.0.0.0",
        ))
    } else if all(|address| address.port() != 22) {
        Some((
            format!("sshd listens on {shown}, not on port 22, which the console and endpoints use"),
            "give the client the port (aws ec2-instance-connect ssh --ssh-port), or set Port 22 too",
        ))
    } else if only_ipv6 && all(SocketAddr::is_ipv6) {
        Some((
            format!("sshd listens on IPv6 only: {shown}"),
            "remove AddressFamily, and set ListenAddress 0.0.0.0 too",
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Duration, Settings, limits_of};
    use crate::check::settings::Source;
    use crate::sshd::criteria::Connection;
    use crate::sshd::query::Dump;

    /// Settings with one line of `sshd -T`.
    fn settings(line: &str) -> Settings {
        let dump = Dump { command: None, user: None, others: vec![line.as_bytes().to_vec()] };
        let reload = "systemctl reload ssh".to_owned();
        let source = Source {
            connection: Connection::probe(),
            config: None,
            options: Vec::new(),
            unread: Vec::new(),
            reload,
        };
        Settings::new(dump, source)
    }

    #[test]
    fn settings_of_newer_versions() {
        for (line, fails) in [
            ("refuseconnection yes", true),
            ("refuseconnection no", false),
            ("persourcemaxstartups 0", true),
            ("persourcemaxstartups none", false),
        ] {
            let answer = limits_of(&settings(line), Duration::from_secs(4));
            assert_eq!(format!("{answer:?}").contains("status: Fail"), fails, "{line}");
        }
    }
}
