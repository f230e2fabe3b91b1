//! The trust store: the system's, or that of `--trust-store`.

use crate::{instance, result, shell};
use eic_keys::limits;
use eic_keys::trust::store::{DIRECTORY, LOCATIONS};
use eic_lab::{Instance, Pki, UserKey, pki};

const STORE: &str = "/etc/lab/store";

/// The laboratory's anchor, PEM.
fn anchor(instance: &Instance) -> String {
    pki::bundle([&instance.pki().root])
}

/// An anchor of the same name and another key, PEM.
fn other_anchor() -> String {
    pki::bundle([&Pki::with(|spec| spec.root.key = spec.old_root.key.clone()).root])
}

#[track_caller]
fn gives(instance: &Instance, key: &UserKey, what: &str) {
    let outcome = instance.run(["--trust-store", STORE, "alice", key.fingerprint()]);
    assert_eq!(result(&outcome), (Some(0), format!("{}\n", key.line()).as_str(), ""), "{what}");
}

#[track_caller]
fn fails(instance: &Instance, key: &UserKey, status: i32, what: &str) {
    instance.journal.clear();
    let outcome = instance.run(["--trust-store", STORE, "alice", key.fingerprint()]);
    assert_eq!(result(&outcome), (Some(status), "", ""), "{what}: {:?}", instance.journal.lines());
    let lines = instance.journal.lines();
    assert!(lines.len() == 1 && lines[0].severity == 4, "{what}: {lines:?}");
    assert!(lines[0].message().contains(if status == 4 { STORE } else { "signer" }), "{what}: {lines:?}");
}

#[test]
fn each_usual_location_is_found() {
    let (instance, key) = instance();
    for location in LOCATIONS {
        instance.remove_trust_stores();
        let path = match *location {
            DIRECTORY => format!("{DIRECTORY}/laboratory.pem"),
            file => file.to_owned(),
        };
        instance.trust_store(&path, anchor(&instance));
        assert_eq!(instance.run(["alice", key.fingerprint()]).keys(), [key.line()], "{path}");
        instance.remove(&path);
        instance.trust_store(&path, other_anchor());
        assert_eq!(
            result(&instance.run(["alice", key.fingerprint()])),
            (Some(3), "", ""),
            "{path}, another anchor"
        );
        instance.remove(&path);
    }
}

#[test]
fn without_a_trust_store_fails_only_if_it_is_needed() {
    let (instance, key) = instance();
    instance.remove_trust_stores();
    assert_eq!(result(&instance.run(["alice", key.fingerprint()])), (Some(4), "", ""));
    let lines = instance.journal.lines();
    assert!(lines.len() == 1 && lines[0].severity == 4, "{lines:?}");
    assert!(
        lines[0].message().contains("ca-certificates") && lines[0].message().contains("--trust-store"),
        "{lines:?}"
    );
    assert_eq!(
        result(&instance.run(["bob", key.fingerprint()])),
        (Some(0), "", ""),
        "nobody needs it for nothing"
    );
}

#[test]
fn reads_the_valid_certificates_of_a_file() {
    let (instance, key) = instance();
    let good = anchor(&instance);
    let garbage = "not a certificate\n".repeat(100);
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (what, text) in [
        ("the anchor alone", good.clone()),
        ("behind another", other_anchor() + &good),
        ("before another", good.clone() + &other_anchor()),
        ("twice", good.repeat(2)),
        ("between remarks", format!("# Laboratory\n\n{good}\n# end\n")),
        ("behind what is no certificate", garbage.clone() + &good),
        ("behind a broken one", broken.to_owned() + &good),
        ("CR LF", good.replace('\n', "\r\n")),
        ("no newline at the end", good.trim_end().to_owned()),
    ] {
        instance.write(STORE, text);
        gives(&instance, &key, what);
    }
    let no_private = good.replace("CERTIFICATE", "PUBLIC KEY");
    for (what, text) in [
        ("empty", String::new()),
        ("no certificate", garbage),
        ("no certificate, but PEM", no_private),
        ("half a certificate", good[..good.len() / 2].to_owned()),
    ] {
        instance.write(STORE, text);
        fails(&instance, &key, 4, what);
    }
    instance.write(STORE, other_anchor());
    fails(&instance, &key, 3, "another anchor of that name");
    instance.write(STORE, pki::bundle([&instance.pki().signer]));
    fails(&instance, &key, 3, "the signer itself, which is no CA");
}

#[test]
fn reads_a_file_up_to_the_limit_only() {
    let (instance, key) = instance();
    let most = usize::try_from(limits::TRUST_STORE).unwrap();
    let mut text = anchor(&instance).into_bytes();
    text.resize(most, b'\n');
    instance.write(STORE, &text);
    gives(&instance, &key, "8 MiB");
    text.push(b'\n');
    instance.write(STORE, &text);
    fails(&instance, &key, 4, "8 MiB and a byte");
}

#[test]
fn reads_the_certificates_of_a_directory() {
    let (instance, key) = instance();
    shell(&instance, &format!("mkdir -p {STORE}"));
    fails(&instance, &key, 4, "an empty directory");
    instance.write(format!("{STORE}/README"), "no certificate");
    fails(&instance, &key, 4, "a directory without a certificate");
    instance.write(format!("{STORE}/other.pem"), other_anchor());
    fails(&instance, &key, 3, "a directory without the anchor");
    instance.write(format!("{STORE}/0a1b2c3d.0"), anchor(&instance));
    gives(&instance, &key, "a directory with the anchor");
    shell(&instance, &format!("mv {STORE}/0a1b2c3d.0 /etc/lab/a.pem && ln -s ../a.pem {STORE}/link.pem"));
    gives(&instance, &key, "a directory with a link to the anchor");
    shell(
        &instance,
        &format!("mkfifo -m 0644 {STORE}/pipe && mkdir {STORE}/directory && ln -s nothing {STORE}/broken"),
    );
    gives(&instance, &key, "a directory with a pipe, a directory and a broken link beside the anchor");
    shell(&instance, &format!("install -m 0600 /dev/null {STORE}/private.pem"));
    gives(&instance, &key, "a directory with a file that only root reads beside the anchor");
}

/// A file that was renamed to disable it is not trusted.
#[test]
fn reads_only_certificate_files_of_a_directory() {
    let (instance, key) = instance();
    for (name, counts) in [
        ("root.pem", true),
        ("root.crt", true),
        ("0a1b2c3d.12", true),
        ("old-root.pem.disabled", false),
        ("root.pem~", false),
        ("root.PEM", false),
        ("root", false),
        (".root.pem", false),
        ("0a1b2c3d.r0", false),
        ("0a1b2c3.0", false),
    ] {
        shell(&instance, &format!("rm -rf {STORE} && mkdir -p {STORE}"));
        instance.write(format!("{STORE}/{name}"), anchor(&instance));
        if counts {
            gives(&instance, &key, name);
        } else {
            fails(&instance, &key, 4, name);
        }
    }
}

#[test]
fn refuses_a_directory_with_too_many_files() {
    let (instance, key) = instance();
    let fill = |count: usize| {
        shell(
            &instance,
            &format!(
                "rm -rf {STORE} && mkdir -p {STORE} && cd {STORE} && seq -f %g.txt {count} | xargs touch"
            ),
        );
        instance.write(format!("{STORE}/laboratory.pem"), anchor(&instance));
    };
    fill(limits::TRUST_STORE_FILES - 1);
    gives(&instance, &key, "as many files as there may be");
    fill(limits::TRUST_STORE_FILES);
    fails(&instance, &key, 4, "a file more");
}

#[test]
fn fails_on_what_cannot_be_read() {
    let (instance, key) = instance();
    instance.write("/etc/lab/anchor.pem", anchor(&instance));
    for (what, script, reason) in [
        ("missing", "true", "No such file"),
        ("a broken link", "ln -s nothing STORE", "No such file"),
        ("a link to itself", "ln -s STORE STORE", "symbolic links"),
        ("a pipe that nobody writes to", "mkfifo -m 0644 STORE", "not a file"),
        ("a device", "ln -s /dev/zero STORE", "not a file"),
        ("a file that only root reads", "install -m 0600 /etc/lab/anchor.pem STORE", "Permission denied"),
        (
            "a directory that only root lists",
            "mkdir -m 0700 STORE && cp /etc/lab/anchor.pem STORE",
            "Permission denied",
        ),
        ("a path through a file", "ln -s /etc/lab/anchor.pem/more STORE", "Not a directory"),
    ] {
        shell(&instance, &format!("rm -rf {STORE}; {}", script.replace("STORE", STORE)));
        fails(&instance, &key, 4, what);
        assert!(instance.journal.says(reason), "{what}: {:?}", instance.journal.lines());
    }
    shell(&instance, &format!("rm -rf {STORE} && install -m 0644 /etc/lab/anchor.pem {STORE}"));
    gives(&instance, &key, "a file that everybody reads");
    shell(&instance, &format!("rm {STORE} && ln -s /etc/lab/anchor.pem {STORE}"));
    gives(&instance, &key, "a link to it");
}

/// It replaces the system's, and does not add to it.
#[test]
fn trust_store_replaces_the_default() {
    let (instance, key) = instance();
    assert_eq!(
        instance.run(["alice", key.fingerprint()]).keys(),
        [key.line()],
        "the system's has the anchor"
    );
    instance.write(STORE, other_anchor());
    fails(&instance, &key, 3, "the named one has not");
}
