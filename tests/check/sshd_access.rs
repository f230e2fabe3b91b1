//! Users and groups that sshd allows or denies.

use crate::world::{USER, World, broken, config, set, world};

#[test]
fn allowed_and_denied_users() {
    let access = &[("sshd.access", "fail")];
    broken(set("AllowUsers", "bob carol"), access, "AllowUsers does not include alice: it has bob carol");
    // The usual slips.
    broken(
        set("AllowUsers", "bob,alice"),
        access,
        "it has bob,alice; names are separated by spaces, not by commas",
    );
    broken(set("AllowUsers", "Alice"), access, "it has Alice; upper and lower case differ");
    broken(
        set("AllowUsers", "alice\u{a0}bob"),
        access,
        "it has \"alice<U+00A0>bob\"; a character that is not ASCII",
    );
    broken(set("AllowGroups", "wheel,alice"), access, "names are separated by spaces");
    broken(set("AllowUsers", "a1 a2 a3 a4 a5 a6 a7 a8 a9"), access, "it has a1 a2 a3 a4 a5 a6 a7 a8 ...");
    world(|world| {
        set("DenyUsers", "!alice *")(world);
        let report = world.check();
        report.assert_exactly(access);
        assert_eq!(report.note("sshd.access"), "DenyUsers includes alice, by the pattern *");
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.starts_with("remove the pattern * from DenyUsers ("), "{fix}");
    });
    broken(set("DenyUsers", "a*"), access, "DenyUsers includes alice");
    broken(set("DenyUsers", "a*@*"), access, "DenyUsers includes alice");
    broken(set("AllowGroups", "wheel"), access, "AllowGroups does not include a group of alice");
    broken(set("DenyGroups", "alice"), access, "DenyGroups includes a group of alice");
    let depends = &[("sshd.access", "warn")];
    // Session Manager connects from this system itself.
    broken(set("AllowUsers", "alice@127.0.0.1"), depends, "AllowUsers allows alice from 127.0.0.1 only");
    broken(set("AllowUsers", "alice@127.0.0.1 alice@10.*"), depends, "alice from 127.0.0.1, 10.* only");
    broken(set("DenyUsers", "bob a*@192.0.2.*"), depends, "DenyUsers refuses alice from 192.0.2.*");
    broken(set("AllowUsers", "bob alice@192.0.2.*"), depends, "AllowUsers allows alice from 192.0.2.* only");
    world(|world| {
        for allowed in ["alice", "al?ce", "bob alice@*", "alice@0.0.0.0/0"] {
            world.configure(&config().set("AllowUsers", allowed).text());
            world.check().assert_healthy();
        }
    });
    // Without UseDNS, the name of a client is its address.
    broken(
        set("AllowUsers", "alice@*.example.com bob"),
        access,
        "AllowUsers has alice@*.example.com, which matches no client: UseDNS is no",
    );
    broken(set("AllowUsers", "alice@!10.0.0.1"), access, "matches no client");
    broken(
        |world| {
            let text = config().set("AllowUsers", "alice@*.example.com").set("UseDNS", "yes").text();
            world.configure(&text);
        },
        depends,
        "AllowUsers allows alice from *.example.com only",
    );
    world(|world| {
        set("DenyUsers", "alice@*.example.com")(world);
        world.check().assert_healthy();
    });
}

/// Adds a line to /etc/group, and a list to sshd's configuration. Whether a login works then, and what sshd.access says.
fn groups(world: &World<'_>, line: &str, list: &str) -> (bool, String) {
    let group = std::fs::read_to_string("/etc/group").unwrap();
    world.instance.write("/etc/group", group + line);
    world.restart(&(config().text() + list + "\n"));
    let works = world.sshd.ssh(USER, &world.key, "true").status == Some(0);
    let report = world.check();
    assert_eq!(report.status("sshd.access"), if works { "ok" } else { "fail" }, "{line} {list}");
    (works, report.note("sshd.access").to_owned())
}

#[test]
fn a_group_that_is_damaged_and_a_list_that_is_lifted() {
    // A field of its line is lost; that of another group does not count.
    world(|world| {
        let (works, note) = groups(world, "other:x:alice\nadmins:x:bob,alice\n", "AllowGroups none admins");
        assert!(!works);
        let says = "AllowGroups has admins, in which the name service does not find alice: line ";
        assert!(note.starts_with(says) && note.ends_with(" of /etc/group is damaged"), "{note}");
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.contains(": admins:x:GID:bob,alice (grpck -r"), "{fix}");
        let group = std::fs::read_to_string("/etc/group").unwrap();
        world.instance.write("/etc/group", group.replace("admins:x:", "admins:x:47500:"));
        assert!(groups(world, "", "AllowGroups admins").0);
        assert!(groups(world, "", "AllowGroups alice").0);
    });
    // What a block lifts does not hide another list.
    world(|world| {
        let lists = "DenyUsers alice\nAllowGroups none\nMatch Address 10.0.0.0/8\nDenyUsers bob";
        let (works, note) = groups(world, "", lists);
        assert!(!works && note.starts_with("AllowGroups does not include a group of alice"), "{note}");
    });
}

/// sshd looks at the names of the primary group and of the supplementary ones. A group without a name is left out.
#[test]
fn groups_of_the_user() {
    for (line, list, works) in [
        ("staff:x:47500:bob,alice\n", "AllowGroups staff", true),
        ("staff:x:47500:bob,alice\n", "DenyGroups st*", false),
        ("staff:x:47500:bob\n", "AllowGroups staff", false),
        ("staff:x:47500:alice\n", "AllowGroups !staff", false),
        ("domain users:x:47500:alice\n", "AllowGroups \"domain users\"", true),
        ("domain users:x:47500:alice\n", "AllowGroups domain users", false),
        ("domain users:x:47500:alice\n", "DenyGroups users", true),
    ] {
        world(|world| assert_eq!(groups(world, line, list).0, works, "{line} {list}"));
    }
    // The list for users has a group, and the other way round.
    world(|world| {
        let (works, note) = groups(world, "staff:x:47500:alice\n", "AllowUsers staff");
        assert!(!works);
        assert!(
            note.ends_with("it has staff; a name there is a group, and AllowUsers takes users"),
            "{note}"
        );
        let group = std::fs::read_to_string("/etc/group").unwrap();
        world.instance.write("/etc/group", group.replace("alice:x:", "people:x:"));
        let (works, note) = groups(world, "", "AllowGroups alice");
        assert!(!works);
        assert!(note.ends_with("it has alice; that is a user, and AllowGroups takes groups"), "{note}");
    });
    // Words that the reader takes for one name.
    world(|world| {
        let (_, note) = groups(world, "domain users:x:47500:alice\n", "AllowGroups domain users");
        assert!(note.contains("it has \"domain\" \"users\"; without quotes, sshd reads the words"), "{note}");
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.starts_with("write the name in quotes: AllowGroups \"domain users\""), "{fix}");
    });
    // The group exists: the user can be added to it.
    world(|world| {
        assert!(!groups(world, "staff:x:47500:bob\n", "AllowGroups gone staff").0);
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(
            fix.starts_with("if alice is to be a member of staff: usermod -aG staff alice; otherwise add a group of alice to AllowGroups ("),
            "{fix}"
        );
        assert!(!groups(world, "", "AllowGroups gone").0);
        let report = world.check();
        let fix = report.of("sshd.access")["fix"].as_str().unwrap();
        assert!(fix.starts_with("add a group of alice to AllowGroups ("), "{fix}");
    });
    // The name service does not use the file.
    for database in ["group", "initgroups"] {
        world(|world| {
            assert!(groups(world, "staff:x:47500:alice\n", "AllowGroups staff").0);
            let line = if database == "group" { "group: foo\n" } else { "group: files\ninitgroups: foo\n" };
            world.instance.write("/etc/nsswitch.conf", format!("passwd: files\n{line}"));
            let (works, note) = groups(world, "", "AllowGroups staff");
            assert!(!works);
            assert_eq!(
                note,
                format!(
                    "AllowGroups has staff, a group of alice in /etc/group, but the {database} line of /etc/nsswitch.conf is \"foo\", without files"
                )
            );
            let report = world.check();
            let fix = report.of("sshd.access")["fix"].as_str().unwrap();
            assert!(fix.starts_with("put files before the other services"), "{fix}");
        });
    }
    // The line of the primary group is gone.
    world(|world| {
        let group = std::fs::read_to_string("/etc/group").unwrap();
        let others = group.lines().filter(|line| !line.starts_with("alice:")).map(|line| format!("{line}\n"));
        world.instance.write("/etc/group", others.collect::<String>());
        assert!(groups(world, "staff:x:47500:alice\n", "AllowGroups staff").0);
        assert!(!groups(world, "", "DenyGroups staff").0);
        let group = std::fs::read_to_string("/etc/group").unwrap().replace("staff:x:47500:alice\n", "");
        world.instance.write("/etc/group", group);
        let (works, note) = groups(world, "", "DenyGroups bob");
        assert!(!works);
        assert_eq!(note, "DenyGroups is set, and no group of alice has a name: sshd refuses such users");
    });
}

#[test]
fn permit_root_login() {
    world(|world| {
        world.instance.push("root", &world.key);
        for (value, status) in [("no", "fail"), ("forced-commands-only", "fail"), ("prohibit-password", "ok")]
        {
            world.configure(&config().set("PermitRootLogin", value).text());
            assert_eq!(world.check_with(&["root"]).status("sshd.access"), status, "{value}");
            assert_eq!(world.check_with(&[USER]).status("sshd.access"), "ok");
        }
        // Another name for root.
        world.configure(&config().set("PermitRootLogin", "no").text());
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
        world.instance.write("/etc/passwd", passwd.replace("alice:x:47101:", "alice:x:0:"));
        let says = "alice has uid 0, so that sshd refuses it as root: PermitRootLogin is no";
        assert_eq!(world.check().note("sshd.access"), says);
    });
}
