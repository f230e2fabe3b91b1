//! What this system does with connections before sshd sees them.
use crate::world::stop_sshd;
use crate::world::{PID_FILE, USER, World, broken, config, world};
use eic_lab::sshd::CONFIG;
use std::net::{Ipv4Addr, TcpListener};

/// Puts a program in place that prints a text.
fn prints(world: &World<'_>, path: &str, text: &str) {
    world.instance.install(path, format!("#!/bin/sh\ncat <<'END'\n{text}\nEND\n").as_bytes());
}

/// firewalld makes rules without nft, and iptables-save does not list them.
#[test]
fn a_firewall_that_no_program_shows() {
    for state in ["active", "inactive"] {
        world(|world| {
            world.instance.remove("/usr/sbin/nft");
            prints(world, "/usr/sbin/iptables-save", "");
            let systemctl =
                format!("#!/bin/sh\n[ \"$*\" != 'is-active firewalld.service' ] || echo {state}\n");
            world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
            let report = world.check();
            let is_known = state == "inactive";
            assert_eq!(report.status("network.firewall"), if is_known { "ok" } else { "skip" });
            let says = "not all rules of the firewall are known: nft, ";
            assert_eq!(report.note("network.firewall").starts_with(says), !is_known);
            let fix = report.of("network.firewall")["fix"].as_str().unwrap_or_default();
            assert_eq!(fix.starts_with("install the package nftables, and check again"), !is_known);
        });
    }
}

/// firewalld, without nft, but with firewall-cmd, which says this of the zone of all interfaces.
fn firewalld(world: &World<'_>, of_zone: &str, policies: &str) {
    world.sh("ip link add client0 type veth peer name client1; ip addr add 10.77.0.1/24 dev client0; \
             ip link set client0 up; ip link set client1 up; ip route add default dev client0");
    world.instance.remove("/usr/sbin/nft");
    prints(world, "/usr/sbin/iptables-save", "");
    let systemctl = "#!/bin/sh\n[ \"$*\" != 'is-active firewalld.service' ] || echo active\n";
    world.instance.install("/usr/bin/systemctl", systemctl.as_bytes());
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n--get-default-zone) echo public;;\n--get-active-zones) echo 'libvirt\n  interfaces: virbr0';;\n\
         --get-active-policies) echo '{policies}';;\n--direct*) ;;\n--info-service=ssh) echo 'ssh\n  ports: 22/tcp\n  protocols: ';;\n\
         --info-service=*) echo 'x\n  ports: 9090/tcp';;\n\
         '--zone=public --list-all') echo 'public\n  {of_zone}';;\n*) exit 2;;\nesac\n"
    );
    world.instance.install("/usr/bin/firewall-cmd", script.as_bytes());
}

#[test]
fn what_firewalld_says() {
    const OWN: &str = "allow-host-ipv6\n  ingress-zones: ANY\n  egress-zones: HOST";
    const RICH: &str =
        "target: default\n  services: cockpit\n  ports: \n  rich rules: \n\trule family=\"ipv4\"";
    let zone = |target: &str, services: &str, ports: &str| {
        format!("target: {target}\n  services: {services}\n  ports: {ports}\n  protocols: \n  rich rules: ")
    };
    for (of_zone, policies, is_refused) in [
        (zone("default", "cockpit dhcpv6-client", ""), OWN, true),
        (zone("DROP", "", "8000-8100/tcp 22/udp"), OWN, true),
        (format!("{RICH} source address=\"192.0.2.0/24\" service name=\"ssh\" accept"), OWN, true),
        (format!("{RICH} service name=\"ssh\" log accept"), OWN, false),
        (zone("default", "cockpit ssh", ""), OWN, false),
        (zone("default", "", "20-30/tcp"), OWN, false),
        (zone("ACCEPT", "", ""), OWN, false),
        (zone("default", "", ""), "mine\n  egress-zones: HOST", false),
    ] {
        world(|world| {
            firewalld(world, &of_zone, policies);
            let report = world.check();
            let expected = if is_refused { "warn" } else { "skip" };
            assert_eq!(report.status("network.firewall"), expected, "{of_zone}");
            if is_refused {
                let note = report.note("network.firewall");
                assert!(note.starts_with("firewalld refuses connections to port 22 on client0: "), "{note}");
                let fix = report.of("network.firewall")["fix"].as_str().unwrap();
                assert!(fix.contains("firewall-cmd --permanent --zone=public --add-port=22/tcp, "), "{fix}");
            }
        });
    }
}

#[test]
fn a_firewall() {
    let fail = &[("network.firewall", "fail")];
    let rules = |text: &'static str| {
        move |world: &World<'_>| prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{text}\nCOMMIT"))
    };
    broken(
        rules(":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP"),
        fail,
        "drops each connection to port 22: -A INPUT -p tcp -m tcp --dport 22 -j DROP",
    );
    broken(rules(":INPUT DROP [0:0]\n:ufw-user-input - [0:0]"), fail, "the policy of chain INPUT");
    // The addresses of the metadata service and of this system are not a client's.
    broken(
        rules(
            ":INPUT DROP [0:0]\n-A INPUT -d 169.254.169.254/32 -j ACCEPT\n-A INPUT -s 127.0.0.0/8 -j ACCEPT",
        ),
        fail,
        "the policy of chain INPUT",
    );
    broken(
        |world| {
            let chain = r#"{"chain":{"family":"inet","table":"filter","name":"input","hook":"input","policy":"drop"}}"#;
            prints(world, "/usr/sbin/nft", &format!(r#"{{"nftables":[{chain}]}}"#));
        },
        fail,
        "the policy of chain inet filter input",
    );
    for (table, fix) in [
        ("firewalld", "allow it: firewall-cmd --permanent --add-port=22/tcp"),
        ("firewalld_policy_drop", "end firewalld's panic mode"),
    ] {
        world(|world| {
            let chain = format!(
                r#"{{"chain":{{"family":"inet","table":"{table}","name":"raw_prerouting","hook":"prerouting","policy":"drop"}}}}"#
            );
            prints(world, "/usr/sbin/nft", &format!(r#"{{"nftables":[{chain}]}}"#));
            let report = world.check();
            report.assert_exactly(fail);
            assert!(report.of("network.firewall")["fix"].as_str().unwrap().starts_with(fix), "{table}");
        });
    }
    world(|world| {
        rules(":INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT")(world);
        world.check().assert_healthy();
        // Each client's address may be one that is accepted, or not.
        rules(":INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT")(world);
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "warn")]);
        assert!(
            report
                .note("network.firewall")
                .contains("to port 22 only from 10.0.0.0/8; those of others are dropped by the policy")
        );
        rules(":INPUT ACCEPT [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j DROP")(world);
        world.check().assert_healthy();
        rules(":INPUT DROP [0:0]\n:ufw-user-input - [0:0]\n-A INPUT -j ufw-user-input")(world);
        assert_eq!(world.check().of("network.firewall")["fix"], "allow it: ufw allow 22/tcp");
        // After iptables -F.
        rules(":INPUT DROP [0:0]\n:ufw-user-input - [0:0]")(world);
        let fix = "the rules of ufw were removed, but not its policy: /usr/lib/ufw/ufw-init flush-all, then ufw reload";
        assert_eq!(world.check().of("network.firewall")["fix"], fix);
        prints(world, "/usr/sbin/iptables-save", "");
        world.check().assert_healthy();
        prints(world, "/usr/sbin/nft", "not JSON");
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "skip")]);
        assert!(report.note("network.firewall").ends_with("nft: its output is not a list of rules"));
        // What is known drops it.
        rules(":INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP")(world);
        world.check().assert_exactly(fail);
    });
}

/// A container has published the port.
#[test]
fn a_port_that_is_forwarded() {
    world(|world| {
        let script = "ip link add client0 type veth peer name client1; ip link set client0 up; ip link set client1 up; \
             ip addr add 10.77.0.1/24 dev client0; ip route add default dev client0";
        let run = world.instance.command(["-ec", script]).program("/bin/sh").as_root().run();
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let nat = |rule: &str| {
            let text = format!(
                "*nat\n:PREROUTING ACCEPT [0:0]\n{rule}\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"
            );
            prints(world, "/usr/sbin/iptables-save", &text);
        };
        nat("-A PREROUTING -p tcp -m tcp --dport 8022 -j DNAT --to-destination 172.17.0.2:22");
        world.check().assert_healthy();
        let rule = "-A PREROUTING -i client0 -p tcp -m tcp --dport 22 -j DNAT --to-destination 172.17.0.2:22";
        nat(rule);
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "warn")]);
        let says = format!("forwards connections to port 22 on client0 to another program or system: {rule}");
        assert!(report.note("network.firewall").ends_with(&says), "{}", report.note("network.firewall"));
        // A rule for the address of that interface.
        prints(
            world,
            "/usr/sbin/iptables-save",
            "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -d 10.77.0.1/32 -p tcp -m tcp --dport 22 -j DROP\nCOMMIT\n",
        );
        world.check().assert_exactly(&[("network.firewall", "fail")]);
    });
}

/// sshd has another port, to which the firewall sends what comes to port 22.
#[test]
fn a_port_that_is_redirected() {
    world(|world| {
        world.restart(&config().set("Port", "2222").text());
        let warned = &[("sshd.port", "warn")];
        world.check().assert_exactly(warned);
        let nat = |rule: &str| {
            let text = format!("*nat\n:PREROUTING ACCEPT [0:0]\n{rule}\nCOMMIT\n");
            prints(world, "/usr/sbin/iptables-save", &text);
        };
        let rule = "-A PREROUTING -p tcp -m tcp --dport 22 -j REDIRECT --to-ports";
        nat(&format!("{rule} 2222"));
        let report = world.check();
        report.assert_healthy();
        let says = "sshd listens on 0.0.0.0:2222, to which the firewall redirects port 22";
        assert_eq!(report.note("sshd.port"), says);
        for other in [
            format!("{rule} 22222"),
            "-A OUTPUT -p tcp -m tcp --dport 22 -j REDIRECT --to-ports 2222".to_owned(),
            "-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 2222".to_owned(),
        ] {
            nat(&other);
            world.check().assert_exactly(warned);
        }
        nat("");
        for (from, is_right) in [(22, true), (80, false)] {
            let rule = format!(
                r#"{{"nftables":[{{"chain":{{"family":"inet","table":"t","name":"c","type":"nat","hook":"prerouting","policy":"accept"}}}},
                {{"rule":{{"family":"inet","table":"t","chain":"c","expr":[{{"match":{{"op":"==","left":{{"payload":{{"protocol":"tcp","field":"dport"}}}},"right":{from}}}}},
                {{"redirect":{{"port":2222}}}}]}}}}]}}"#
            );
            prints(world, "/usr/sbin/nft", &rule);
            world.check().assert_exactly(if is_right { &[] } else { warned });
        }
    });
}

/// Rules that are not evaluated, or that are for some clients only.
#[test]
fn what_a_firewall_may_do() {
    let rules = |world: &World<'_>, text: &str| {
        prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{text}\nCOMMIT"));
    };
    world(|world| {
        let night =
            "-A INPUT -p tcp -m tcp --dport 22 -m time --timestart 02:00:00 --timestop 03:00:00 -j ACCEPT";
        rules(world, &format!(":INPUT DROP [0:0]\n{night}"));
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "warn")]);
        let says = format!(
            "drops connections to port 22 by the policy of chain INPUT, unless these rules, which are not evaluated here, accept them: {night}"
        );
        assert!(report.note("network.firewall").ends_with(&says), "{}", report.note("network.firewall"));
        // A mark that another rule sets, or that none does.
        let mark = "-A INPUT -p tcp -m tcp --dport 22 -m connmark --mark 0x1 -j ACCEPT";
        for (set, is_set) in [("-A INPUT -p tcp -j CONNMARK --set-xmark 0x1/0xffffffff\n", true), ("", false)]
        {
            rules(world, &format!(":INPUT DROP [0:0]\n{set}{mark}"));
            let report = world.check();
            if is_set {
                report.assert_healthy();
                continue;
            }
            report.assert_exactly(&[("network.firewall", "warn")]);
            let says = format!("accept them: {mark}, for a mark that no rule sets");
            assert!(report.note("network.firewall").ends_with(&says), "{}", report.note("network.firewall"));
        }
        // As of ufw, after "ufw deny from", and with "ufw limit".
        let (deny, limit) = (
            "-A INPUT -s 10.9.9.0/24 -j DROP",
            "-A INPUT -p tcp -m tcp --dport 22 -m recent --update --seconds 30 --hitcount 6 --name DEFAULT --rsource -j DROP",
        );
        rules(
            world,
            &format!(
                ":INPUT DROP [0:0]\n{deny}\n{limit}\n{night}\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"
            ),
        );
        let report = world.check();
        report.assert_healthy();
        let detail = [deny, limit].map(|rule| format!("drops those of some clients, or may do so: {rule}"));
        assert_eq!(report.detail("network.firewall"), detail);
    });
}

/// Rules without a state of conntrack, or with one for packets that have none.
#[test]
fn a_firewall_without_conntrack() {
    let raw = "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 22 -j CT --notrack\n\
               -A OUTPUT -p tcp -m tcp --sport 22 -j CT --notrack\nCOMMIT\n";
    let rules = |raw: &str, states: &str| {
        format!(
            "{raw}*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate {states} -j ACCEPT\nCOMMIT\n"
        )
    };
    world(|world| {
        for (raw, states, works) in [
            (raw, "ESTABLISHED,UNTRACKED", true),
            ("", "NEW,ESTABLISHED", true),
            (raw, "NEW,ESTABLISHED", false),
            (&raw.replace("--dport 22", "--dport 80"), "NEW,ESTABLISHED", false),
        ] {
            prints(world, "/usr/sbin/iptables-save", &rules(raw, states));
            let report = world.check();
            if works {
                report.assert_healthy();
                continue;
            }
            report.assert_exactly(&[("network.firewall", "fail")]);
            let note = report.note("network.firewall");
            assert!(note.contains("the policy of chain INPUT; because of notrack, packets have"), "{note}");
            let fix = report.of("network.firewall")["fix"].as_str().unwrap();
            assert!(fix.starts_with("remove notrack (CT --notrack), or"), "{fix}");
        }
    });
}

/// sshd gives the address of a connection that tries no login a penalty (`PerSourcePenalties`): it is no client's.
#[test]
fn the_address_of_its_own_connection() {
    world(|world| {
        let harsh = config().set("PerSourcePenalties", "noauth:600s min:0s");
        let has_penalties = std::process::Command::new("/usr/sbin/sshd")
            .args(["-T", "-o", "PerSourcePenalties=no"])
            .output()
            .unwrap()
            .status
            .success();
        if has_penalties {
            world.restart(&harsh.text());
        }
        let report = world.check();
        assert_eq!(report.status("network.banner"), "ok");
        assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        if has_penalties {
            // For all clients.
            world.restart(&harsh.set("PerSourceNetBlockSize", "0:0").text());
            assert_eq!(world.check().status("network.banner"), "skip");
            assert_eq!(world.sshd.ssh(USER, &world.key, "true").status, Some(0));
        } else {
            assert!(world.sshd.says("by 127.1"), "{:#?}", world.sshd.log());
            let own =
                |line: &String| line.contains("Connection closed by 127.0.0.1") && !line.contains("user");
            assert!(!world.sshd.log().iter().any(own), "{:#?}", world.sshd.log());
        }
    });
    world(|world| {
        world.sh("ip address del 127.0.0.1/8 dev lo");
        let report = world.check_with(&[USER, "--rehearse"]);
        report.assert_exactly(&[
            ("network.banner", "skip"),
            ("login.rehearsal", "warn"),
            ("login.terminal", "skip"),
        ]);
        let says = "lo is down or has no address 127.0.0.1: this system cannot connect to itself";
        assert_eq!(report.note("network.banner"), says);
        let fix = report.of("login.rehearsal")["fix"].as_str().unwrap();
        world.sh(fix.strip_prefix("give the interface lo that address: ").unwrap());
        world.check_with(&[USER, "--rehearse"]).assert_healthy();
    });
}

/// Rules that name the interface over which clients come, which this system's own connections do not use.
#[test]
fn a_firewall_of_an_interface() {
    let rules = |world: &World<'_>, text: &str| {
        prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{text}\nCOMMIT"));
    };
    world(|world| {
        world.sh("ip link add client0 type veth peer name client1; ip addr add 10.77.0.1/24 dev client0; \
             ip link set client0 up; ip link set client1 up; ip route add default dev client0");
        world.check().assert_healthy();
        let closed = "-p tcp -m tcp --dport 22 -j DROP";
        rules(world, &format!(":INPUT ACCEPT [0:0]\n-A INPUT -i client0 {closed}"));
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "fail")]);
        let says = format!("drops each connection to port 22 on client0: -A INPUT -i client0 {closed}");
        assert!(report.note("network.firewall").contains(&says), "{}", report.note("network.firewall"));
        // That of a network of containers.
        rules(world, &format!(":INPUT ACCEPT [0:0]\n-A INPUT -i docker0 {closed}"));
        world.check().assert_healthy();
        let moved = ":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                     -A INPUT -i ens77 -p tcp -m tcp --dport 22 -j ACCEPT";
        rules(world, moved);
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "fail")]);
        // Not lo, which comes first.
        let note = report.note("network.firewall");
        assert!(
            note.ends_with("a rule names the interface ens77, which this system does not have"),
            "{note}"
        );
        rules(world, &moved.replace("ens77", "client0"));
        world.check().assert_healthy();
        // Clients of this system's own network, not only one of its addresses or this system's own.
        let anti_spoofing = |network: &str| {
            rules(world, &format!(":INPUT ACCEPT [0:0]\n-A INPUT -s {network} -i client0 -j DROP"));
            world.check()
        };
        for other in ["192.168.0.0/16", "10.77.1.0/24", "10.77.0.5/32", "10.77.0.1/32", "10.77.0.128/25"] {
            anti_spoofing(other).assert_healthy();
        }
        for own in ["10.0.0.0/8", "10.77.0.0/24"] {
            let report = anti_spoofing(own);
            report.assert_exactly(&[("network.firewall", "warn")]);
            let says =
                format!("from this system's own network, 10.77.0.0/24: -A INPUT -s {own} -i client0 -j DROP");
            assert!(report.note("network.firewall").ends_with(&says), "{}", report.note("network.firewall"));
        }
        // Replies.
        let replies = ":OUTPUT DROP [0:0]\n-A OUTPUT -o lo -j ACCEPT\n-A OUTPUT -p tcp -m multiport --dports 80,443 -j ACCEPT";
        rules(world, replies);
        let report = world.check();
        report.assert_exactly(&[("network.firewall", "fail")]);
        let note = report.note("network.firewall");
        assert!(note.contains("drops sshd's replies from port 22: the policy of chain OUTPUT"), "{note}");
        rules(world, &format!("{replies}\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"));
        world.check().assert_healthy();
    });
}

/// A fail2ban with jails, and the addresses that they block.
fn fail2ban(world: &World<'_>, jails: &[(&str, &str)]) {
    let names: Vec<_> = jails.iter().map(|(name, _)| *name).collect();
    let mut script = format!(
        "#!/bin/sh\ncase \"$*\" in\nstatus) printf 'Status\\n|- Number of jail:\\t{}\\n`- Jail list:\\t{}\\n' ;;\n",
        jails.len(),
        names.join(", ")
    );
    let status = |(name, banned): &(&str, &str)| {
        format!(
            "'status {name}') echo 'Status for the jail: {name}\n|- Filter\n`- Actions\n   |- Currently banned:\t9\n   \
             `- Banned IP list:\t{banned}' ;;\n"
        )
    };
    let all: Vec<_> = jails.iter().map(status).collect();
    script += &all.concat();
    script += "*) exit 255 ;;\nesac\n";
    world.instance.install("/usr/bin/fail2ban-client", script.as_bytes());
}

#[test]
fn addresses_that_fail2ban_blocks() {
    let id = "network.fail2ban";
    world(|world| {
        fail2ban(world, &[("sshd", "")]);
        world.check().assert_healthy();
        fail2ban(world, &[("sshd", "192.0.2.7 2001:db8::7")]);
        let report = world.check();
        report.assert_exactly(&[(id, "warn")]);
        let says = "fail2ban blocks 2 addresses (192.0.2.7, 2001:db8::7): a client with one of them cannot connect to sshd";
        assert_eq!(report.note(id), says);
        assert_eq!(report.detail(id), ["192.0.2.7", "2001:db8::7"]);
    });
}

/// Those of another jail count if its rules are for port 22, too.
#[test]
fn other_jails_of_fail2ban() {
    let id = "network.fail2ban";
    let iptables = |protocol: &str| {
        format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:f2b-web - [0:0]\n-A INPUT -p tcp{protocol} -j f2b-web\n-A f2b-web -s 192.0.2.8/32 -j REJECT\n\
             -A f2b-web -j RETURN\nCOMMIT\n"
        )
    };
    let web = " -m multiport --dports 80,443";
    let nft = |matches: &str| {
        let of = r#""family":"inet","table":"f2b-table""#;
        format!(
            r#"{{"nftables":[{{"table":{{"family":"inet","name":"f2b-table"}}}},{{"chain":{{{of},"name":"f2b-chain","type":"filter","hook":"input","prio":-1,"policy":"accept"}}}},{{"set":{{{of},"name":"addr-set-recidive","type":"ipv4_addr","elem":["192.0.2.9"]}}}},{{"rule":{{{of},"chain":"f2b-chain","expr":[{matches},{{"match":{{"op":"==","left":{{"payload":{{"protocol":"ip","field":"saddr"}}}},"right":"@addr-set-recidive"}}}},{{"reject":null}}]}}}}]}}"#
        )
    };
    let all = r#"{"match":{"op":"==","left":{"meta":{"key":"l4proto"}},"right":"tcp"}}"#;
    let mail = r#"{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[25,587]}}}"#;
    world(|world| {
        fail2ban(world, &[("recidive", "192.0.2.9"), ("sshd", ""), ("web", "192.0.2.8")]);
        world.check().assert_healthy();
        prints(world, "/usr/sbin/iptables-save", &iptables(web));
        prints(world, "/usr/sbin/nft", &nft(mail));
        world.check().assert_healthy();
        prints(world, "/usr/sbin/iptables-save", &iptables(""));
        let report = world.check();
        report.assert_exactly(&[(id, "warn")]);
        assert_eq!(report.detail(id), ["192.0.2.8: jail web"]);
        assert!(report.note(id).starts_with("fail2ban blocks the address 192.0.2.8: "));
        prints(world, "/usr/sbin/nft", &nft(all));
        fail2ban(world, &[("recidive", "192.0.2.9"), ("sshd", "192.0.2.9"), ("web", "192.0.2.8")]);
        let report = world.check();
        report.assert_exactly(&[(id, "warn")]);
        // An address in two jails.
        assert_eq!(report.detail(id), ["192.0.2.9: jail recidive", "192.0.2.8: jail web"]);
        assert_eq!(report.of(id)["fix"], "if the client is one of them: fail2ban-client unban ADDRESS");
    });
}

/// The addresses stay in its sets, whether it runs or not.
#[test]
fn addresses_in_the_sets_of_fail2ban() {
    world(|world| {
        let set = |elements: &str| {
            format!(
                r#"{{"nftables":[{{"set":{{"family":"inet","name":"addr-set-sshd","table":"f2b-table"{elements}}}}}]}}"#
            )
        };
        prints(world, "/usr/sbin/nft", &set(""));
        world.check().assert_healthy();
        prints(world, "/usr/sbin/nft", &set(r#","elem":["192.0.2.7","198.51.100.9"]"#));
        let report = world.check();
        report.assert_exactly(&[("network.fail2ban", "warn")]);
        assert_eq!(report.detail("network.fail2ban"), ["192.0.2.7", "198.51.100.9"]);
        let text = set(r#","elem":["192.0.2.7"]"#).replace("addr-set-sshd", "attackers");
        let script = format!("#!/bin/sh\ncase \"$*\" in *sshguard) echo '{text}' ;; *) exit 1 ;; esac\n");
        world.instance.install("/usr/sbin/nft", script.as_bytes());
        let report = world.check();
        assert_eq!(report.status("network.fail2ban"), "warn");
        assert!(!report.of("network.fail2ban")["fix"].as_str().unwrap().contains("fail2ban"));
        // What an administrator or a scenario of this system decided, and a list that CrowdSec got from others.
        let of_crowdsec = |origin: &str| {
            let elements = r#","elem":[{"elem":{"val":"192.0.2.7","timeout":14400,"expires":9000}}]"#;
            let name = format!("crowdsec-blacklists-{origin}");
            prints(world, "/usr/sbin/nft", &set(elements).replace("addr-set-sshd", &name));
            world.check()
        };
        let report = of_crowdsec("cscli");
        report.assert_exactly(&[("network.fail2ban", "warn")]);
        assert!(report.note("network.fail2ban").starts_with("CrowdSec blocks the address 192.0.2.7:"));
        let fix = "if the client is one of them: cscli decisions delete --ip ADDRESS";
        assert_eq!(report.of("network.fail2ban")["fix"], fix);
        of_crowdsec("CAPI").assert_healthy();
        prints(world, "/usr/sbin/nft", &set(""));
        let jail = |rules: &str| {
            let before = "*filter\n:INPUT ACCEPT [0:0]\n:f2b-sshd - [0:0]\n-A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd\n";
            prints(
                world,
                "/usr/sbin/iptables-save",
                &format!("{before}{rules}-A f2b-sshd -j RETURN\nCOMMIT\n"),
            );
        };
        jail("");
        world.check().assert_healthy();
        let rule = "f2b-sshd -s 192.0.2.7/32 -j REJECT --reject-with icmp-port-unreachable";
        jail(&format!("-A {rule}\n"));
        let report = world.check();
        report.assert_exactly(&[("network.fail2ban", "warn")]);
        assert_eq!(report.detail("network.fail2ban"), [format!("192.0.2.7: iptables -D {rule}")]);
        assert!(
            report
                .note("network.fail2ban")
                .starts_with("rules of fail2ban or sshguard block the address 192.0.2.7:")
        );
        jail("");
        // Its action "route". A network without hosts, as of containers, is none, nor is the metadata service.
        let script = "ip route add blackhole 198.51.100.0/26; ip route add blackhole 169.254.9.9";
        let run = world.instance.command(["-ec", script]).program("/bin/sh").as_root().run();
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        world.check().assert_healthy();
        let script = "ip route add blackhole 192.0.2.8";
        let run = world.instance.command(["-ec", script]).program("/bin/sh").as_root().run();
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let report = world.check();
        report.assert_exactly(&[("network.fail2ban", "warn")]);
        assert_eq!(report.detail("network.fail2ban"), ["192.0.2.8: ip route delete blackhole 192.0.2.8"]);
    });
}

/// The network of a bridge has addresses of this system's own network or, if it is the wider one, of other networks of the VPC.
#[test]
fn a_network_of_containers_takes_replies() {
    world(|world| {
        world.sh(INTERFACES);
        world.sh("ip link add client0 type veth peer name client1; ip addr add 10.77.0.1/24 dev client0; \
             ip link set client0 up; ip link set client1 up; ip route add default dev client0; \
             ip link add br-a type bridge; ip link set br-a up");
        let replies = |network: &str| {
            world.sh(&format!("ip addr flush dev br-a; ip addr add {network} dev br-a"));
            world.check()
        };
        for apart in ["172.17.0.1/16", "10.77.1.1/24", "10.77.0.17/28"] {
            replies(apart).assert_healthy();
        }
        for (address, network) in [("10.77.0.129/25", "10.77.0.128/25"), ("10.77.255.1/16", "10.77.0.0/16")] {
            let report = replies(address);
            report.assert_exactly(&[("network.banner", "warn")]);
            let note = report.note("network.banner");
            assert!(
                note.contains(&format!("clients in {network} go to br-a,")) && note.ends_with(" client0"),
                "{note}"
            );
        }
    });
}

/// The rule of a VPN takes sshd's replies.
#[test]
fn replies_over_another_interface() {
    world(|world| {
        world.sh("for n in client wg; do ip link add ${n}0 type veth peer name ${n}1; ip link set ${n}0 up; ip link set ${n}1 up; done; \
             ip addr add 10.77.0.1/24 dev client0; ip route add default dev client0",
        );
        world.check().assert_healthy();
        // The addresses that no client has.
        let bogons = ["192.0.2.0/24", "198.51.100.0/24", "100.64.0.0/10"];
        for (kind, bogon) in ["blackhole", "prohibit", "unreachable"].into_iter().zip(bogons) {
            world.sh(&format!("ip route add {kind} {bogon}"));
        }
        world.check().assert_healthy();
        world.sh("ip rule add pref 11 from 10.77.0.1 lookup 51; ip route add default dev wg0 table 51");
        // The second time, the main table has the VPN's route, too.
        for more in ["true", "ip route replace default dev wg0"] {
            world.sh(more);
            let report = world.check();
            report.assert_exactly(&[("network.banner", "warn")]);
            let says = "replies from 10.77.0.1 (client0) to clients outside its network leave by wg0";
            assert!(report.note("network.banner").ends_with(says), "{}", report.note("network.banner"));
        }
        world.sh("ip rule add pref 10 from 10.77.0.1 prohibit");
        let note = world.check().note("network.banner").to_owned();
        assert!(note.contains("outside its network are refused by a route or a rule"), "{note}");
    });
}

/// Puts the interfaces of this network namespace into `/sys`.
const INTERFACES: &str =
    "mkdir -p /run/sys /sys/class; mount -t sysfs sysfs /run/sys; ln -s /run/sys/class/net /sys/class/net";

/// Addresses of interfaces over which clients connect, and of others.
#[test]
fn addresses_of_inner_interfaces() {
    world(|world| {
        world.sh(INTERFACES);
        world.sh("for n in client wg; do ip link add ${n}0 type veth peer name ${n}1; ip link set ${n}0 up; ip link set ${n}1 up; done; \
             ip addr add 10.77.0.1/24 dev client0; ip route add default dev client0; ip addr add 10.78.0.1/24 dev wg0; \
             ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up; \
             ip link add box0 type veth peer name box1");
        let listens = |address: &str| world.restart(&config().set("ListenAddress", address).text());
        for address in ["0.0.0.0", "10.77.0.1", "10.78.0.1"] {
            listens(address);
            world.check().assert_healthy();
        }
        listens("172.17.0.1");
        let says = |why: &str| {
            let report = world.check();
            report.assert_exactly(&[("sshd.port", "warn")]);
            let note = report.note("sshd.port");
            assert_eq!(note, format!("sshd listens on {why}, so that clients from outside cannot connect"));
        };
        says("172.17.0.1:22 only: docker0 connects only containers or virtual machines of this system");
        // With a container.
        world.sh("ip link set box0 master docker0; ip link set box0 up; ip link set box1 up");
        says("172.17.0.1:22 only: docker0 connects only containers or virtual machines of this system");
        // The network of a host of virtual machines.
        world.sh("ip route replace default dev docker0");
        world.check().assert_healthy();
        world.sh("ip route replace default dev client0");
        listens("10.78.0.1");
        world.sh("ip link set wg1 down");
        says("10.78.0.1:22 only: wg0 has no carrier or is down");
        world.restart(&format!(
            "{}ListenAddress 10.77.0.1\n",
            config().set("ListenAddress", "10.78.0.1").text()
        ));
        world.check().assert_healthy();
    });
}

/// The address is still there, as after a failed change of the network.
#[test]
fn a_system_without_routes() {
    let fail = &[("network.banner", "fail")];
    world(|world| {
        world.sh(INTERFACES);
        world.sh("ip link add client0 type veth peer name client1; ip link set client0 up; ip link set client1 up; \
             ip addr add 10.77.0.1/24 dev client0; ip route add default dev client0");
        world.check().assert_healthy();
        world.sh("ip route del default");
        world.check().assert_healthy();
        world.sh("ip route flush dev client0");
        let report = world.check();
        report.assert_exactly(fail);
        let says =
            "but this system has no route to any other one: clients of 10.77.0.1 (client0) get no reply";
        assert!(report.note("network.banner").ends_with(says), "{}", report.note("network.banner"));
        // In another table.
        world.sh("ip route add 10.0.0.0/8 dev client0 table 7; ip rule add lookup 7");
        world.check().assert_healthy();
        world.sh("ip route flush table 7; ip link set client0 down");
        world.check().assert_exactly(fail);
    });
}

/// Debian's sshd is linked with libwrap; this compares the report with it.
#[test]
fn hosts_that_are_denied() {
    world(|world| {
        let linked = std::fs::read("/usr/sbin/sshd").unwrap().windows(10).any(|bytes| bytes == b"libwrap.so");
        let login = || world.sshd.ssh(USER, &world.key, "true").status == Some(0);
        world.instance.write("/etc/hosts.allow", "");
        world.instance.write("/etc/hosts.deny", "sshd: ALL\n");
        let report = world.check();
        assert_eq!(login(), !linked);
        assert_eq!(report.status("network.wrappers"), if linked { "fail" } else { "ok" });
        // Not a comment.
        world.instance.write("/etc/hosts.deny", "# sshd: ALL\n  # ALL: ALL: DENY\n");
        assert_eq!(login(), !linked);
        assert_eq!(world.check().status("network.wrappers"), if linked { "fail" } else { "ok" });
        world.instance.write("/etc/hosts.allow", "ALL: 192.0.2.\n");
        assert_eq!(login(), !linked);
        assert_eq!(world.check().status("network.wrappers"), if linked { "warn" } else { "ok" });
        for option in ["deny", "twist /bin/echo no"] {
            world.instance.write("/etc/hosts.deny", "");
            world.instance.write("/etc/hosts.allow", format!("sshd: ALL: {option}\n"));
            assert_eq!(login(), !linked, "{option}");
            let report = world.check();
            assert_eq!(report.status("network.wrappers"), if linked { "fail" } else { "ok" }, "{option}");
            assert!(
                !linked
                    || report
                        .note("network.wrappers")
                        .contains(&format!("hosts.allow refuses all clients for sshd: sshd: ALL: {option}"))
            );
        }
        // An option that libwrap does not know, or one behind the last.
        for option in ["nosuch", "allow: severity auth.info"] {
            world.instance.write("/etc/hosts.allow", format!("sshd: ALL: {option}\n"));
            assert_eq!(login(), !linked, "{option}");
            let report = world.check();
            assert_eq!(report.status("network.wrappers"), if linked { "fail" } else { "ok" }, "{option}");
        }
        // A command decides.
        world.instance.write("/etc/hosts.deny", "ALL: ALL\n");
        for (command, works) in [("/bin/false", !linked), ("/bin/true", true)] {
            world.instance.write("/etc/hosts.allow", format!("sshd: ALL: aclexec {command}\n"));
            assert_eq!(login(), works, "{command}");
            assert_eq!(world.check().status("network.wrappers"), if linked { "warn" } else { "ok" });
        }
        // Only this system itself, as Session Manager.
        world.instance.write("/etc/hosts.allow", "ALL: 127.0.0.1 [::1] localhost\n");
        assert!(login());
        let report = world.check();
        assert_eq!(report.status("network.wrappers"), if linked { "warn" } else { "ok" });
        let says = "/etc/hosts.deny refuses all clients for sshd, except: 127.0.0.1 [::1] localhost";
        assert!(!linked || report.note("network.wrappers") == says, "{}", report.note("network.wrappers"));
        // Only connections to one address of this system.
        world.instance.write("/etc/hosts.allow", "");
        world.instance.write("/etc/hosts.deny", "sshd@127.0.0.1: ALL\n");
        assert_eq!(login(), !linked);
        assert_eq!(world.check().status("network.wrappers"), if linked { "warn" } else { "ok" });
        // Each client whose name belongs to its address, as in Debian's file.
        for denied in ["ALL: PARANOID\n", "vsftpd@127.0.0.1: ALL\n"] {
            world.instance.write("/etc/hosts.deny", denied);
            assert!(login(), "{denied}");
            world.check().assert_healthy();
        }
        // Files of addresses.
        for (denied, clients, says) in [
            ("sshd: ALL\n", None, "sshd: sshd: ALL; no address is in /etc/ssh/clients"),
            ("sshd: ALL\n", Some("\n"), "sshd: sshd: ALL; no address is in /etc/ssh/clients"),
            ("sshd: ALL\n", Some("10.1. 192.0.2.7\n"), "all clients for sshd, except: 10.1. 192.0.2.7"),
            ("sshd: ALL\n", Some("10.1.\nALL\n"), ""),
            ("sshd: ALL EXCEPT /etc/ssh/clients\n", None, "no address is in /etc/ssh/clients"),
            ("sshd: /etc/ssh/clients\n", None, ""),
        ] {
            world.instance.write("/etc/hosts.deny", denied);
            let allowed = if denied == "sshd: ALL\n" { "sshd: /etc/ssh/clients\n" } else { "" };
            world.instance.write("/etc/hosts.allow", allowed);
            let _ = std::fs::remove_file("/etc/ssh/clients");
            if let Some(text) = clients {
                world.instance.write("/etc/ssh/clients", text);
            }
            assert_eq!(login(), !linked || says.is_empty(), "{denied}{clients:?}");
            let report = world.check();
            let expected = if says.contains("except") { "warn" } else { "fail" };
            let expected = if linked && !says.is_empty() { expected } else { "ok" };
            assert_eq!(report.status("network.wrappers"), expected, "{denied}{clients:?}");
            let note = report.note("network.wrappers");
            assert!(!linked || note.ends_with(says), "{note}");
        }
        world.instance.write("/etc/hosts.deny", "sshd: ALL: allow\n");
        world.instance.write("/etc/hosts.allow", "");
        assert!(login());
        world.check().assert_healthy();
        world.instance.write("/etc/hosts.deny", "sshd: ALL\n");
        world.instance.write("/etc/hosts.allow", "sshd: ALL\n");
        assert!(login());
        world.check().assert_healthy();
    });
}

/// As libwrap reads these files: names without regard to case, and no line after one that does not end. This compares the report with it.
#[test]
fn hosts_as_libwrap_reads_them() {
    world(|world| {
        let sshd = std::fs::read("/usr/sbin/sshd").unwrap();
        let has = |text: &[u8]| sshd.windows(text.len()).any(|bytes| bytes == text);
        let is_debian = has(b"libwrap.so") && has(b"debianbanner");
        let long = format!("# {}\n", "x".repeat(2100));
        let ends = "has no newline at its end, and libwrap then refuses each connection";
        for (allow, deny, refused) in [
            ("", "all: all\n", Some("/etc/hosts.deny refuses all clients for sshd: all: all")),
            ("", "Ssh?: *\n", Some("/etc/hosts.deny refuses all clients for sshd: Ssh?: *")),
            ("", "sshd: ALL\r\n", Some("/etc/hosts.deny refuses all clients for sshd: sshd: ALL")),
            ("SSHD: ALL\n", "ALL: ALL\n", None),
            ("", "sshd-session: ALL\n", None),
            (
                "sshd-session: ALL\n",
                "ALL: ALL\n",
                Some("/etc/hosts.deny refuses all clients for sshd: ALL: ALL"),
            ),
            (
                "sshd: 0.0.0.0/0\n",
                "ALL: ALL\n",
                Some("/etc/hosts.deny refuses all clients for sshd: ALL: ALL"),
            ),
            ("", "# nobody", Some(&format!("/etc/hosts.deny refuses all clients for sshd: line 1 {ends}"))),
            (
                "",
                "\nvsftpd: 203.0.113.9",
                Some(&format!("/etc/hosts.deny refuses all clients for sshd: line 2 {ends}")),
            ),
            (
                "",
                "# a\0b\n",
                Some(
                    "/etc/hosts.deny refuses all clients for sshd: line 1 has a NUL byte, and libwrap then refuses each connection",
                ),
            ),
            (
                "",
                &long,
                Some(
                    "/etc/hosts.deny refuses all clients for sshd: line 1 is too long, and libwrap then refuses each connection",
                ),
            ),
            (
                "sshd: ALL",
                "ALL: ALL\n",
                Some(
                    "/etc/hosts.deny refuses all clients for sshd: ALL: ALL; line 1 of /etc/hosts.allow has no newline at its end: libwrap reads that file only up to it",
                ),
            ),
            ("# sshd: 10.", "", None),
            ("sshd: ALL\n# x", "ALL: ALL", None),
            (&long, "vsftpd: ALL\n", None),
        ] {
            if !is_debian {
                continue;
            }
            world.instance.write("/etc/hosts.allow", allow);
            world.instance.write("/etc/hosts.deny", deny);
            let case = format!("{allow:.20} / {deny:.20}");
            let login = || world.sshd.ssh(USER, &world.key, "true").status == Some(0);
            assert_eq!(login(), refused.is_none(), "{case}");
            let report = world.check();
            let Some(says) = refused else {
                report.assert_healthy();
                continue;
            };
            assert_eq!(
                (report.status("network.wrappers"), report.note("network.wrappers")),
                ("fail", says),
                "{case}"
            );
            if says.contains("no newline") {
                let file =
                    if says.contains("of /etc/hosts.allow") { "/etc/hosts.allow" } else { "/etc/hosts.deny" };
                let fix = report.of("network.wrappers")["fix"].as_str().unwrap();
                let command = format!("echo >>{file}");
                assert_eq!(fix, format!("end that line with a newline: {command}"), "{case}");
                world.sh(&command);
                assert!(login(), "{case}");
                assert_ne!(world.check().status("network.wrappers"), "fail", "{case}");
            }
        }
    });
}

/// sshd starts without the addresses that another program has.
#[test]
fn another_program_on_the_port() {
    for (port, status) in [(22, "fail"), (2222, "ok")] {
        world(|world| {
            stop_sshd();
            let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            world.instance.write(CONFIG, format!("{}ListenAddress ::\n", config().text()));
            world.start_sshd("/usr/sbin/sshd");
            // The other program lets a client wait for ever.
            assert!(port == 22 || world.sshd.ssh(USER, &world.key, "true").status == Some(0));
            let report = world.check();
            assert_eq!(report.status("sshd.port"), status, "{:#}", report.of("sshd.port"));
            let says = "another program listens on 0.0.0.0:22: clients reach it over IPv4";
            assert_eq!(report.note("sshd.port").starts_with(says), status == "fail");
            drop(other);
        });
    }
}

/// The program and the options of sshd are right, and its port does not answer. Nothing but a connection shows that.
#[test]
fn a_port_that_does_not_answer() {
    // Replies are dropped, or connections refused.
    for (rule, says) in [("sport 22 blackhole", "no answer"), ("dport 22 prohibit", "Permission denied")] {
        world(|world| {
            world.sh("ip rule add pref 10 lookup local; ip rule del pref 0");
            world.check().assert_healthy();
            world.sh(&format!("ip rule add pref 5 ipproto tcp {rule}"));
            let report = world.check_in_time();
            report.assert_exactly(&[("network.banner", "fail")]);
            // All addresses are tried at the same time.
            let duration = report.of("network.banner")["duration_ms"].as_u64().unwrap();
            assert!(duration < 1_900, "{duration} ms");
            let note = report.note("network.banner");
            assert!(note.contains(says) && note.contains("127.0.0.1:22"), "{note}");
            // A firewall that accepts some clients only can refuse this system's own connections.
            let rules = ":INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -p tcp -m tcp --dport 22 -j ACCEPT";
            prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{rules}\nCOMMIT"));
            let report = world.check_in_time();
            report.assert_exactly(&[("network.firewall", "warn"), ("network.banner", "warn")]);
            // The same if it accepts those of an interface only, which is not this system's own.
            world.sh(
                "ip link add client0 type veth peer name client1; ip addr add 10.77.0.1/24 dev client0; \
                 ip link set client0 up; ip link set client1 up; ip route add default dev client0",
            );
            let rules = ":INPUT DROP [0:0]\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
                         -A INPUT -i client0 -p tcp -m tcp --dport 22 -j ACCEPT";
            prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{rules}\nCOMMIT"));
            world.check_in_time().assert_exactly(&[("network.banner", "warn")]);
            let rules = format!("{rules}\n-A INPUT -i lo -j ACCEPT");
            prints(world, "/usr/sbin/iptables-save", &format!("*filter\n{rules}\nCOMMIT"));
            world.check_in_time().assert_exactly(&[("network.banner", "fail")]);
        });
    }
    // PrivateNetwork=
    world(|world| {
        stop_sshd();
        world.start_sshd("unshare --net sh -c 'ip link set lo up; /usr/sbin/sshd'");
        let report = world.check();
        report.assert_exactly(&[("network.banner", "fail")]);
        let note = report.note("network.banner");
        assert!(note.ends_with("has a network of its own, which no client reaches"), "{note}");
        stop_sshd();
    });
    // Its process for a connection ends. Any user can log with its name.
    world(|world| {
        std::fs::remove_dir("/run/sshd").unwrap();
        let journalctl = "#!/bin/sh\ncase \"$*\" in
            *--output=cat*SYSLOG_IDENTIFIER=sshd\\ SYSLOG_IDENTIFIER=sshd-session\\ SYSLOG_IDENTIFIER=sshd-auth\\ _UID=0)
                echo 'Server listening on :: port 22.'; echo 'fatal: Missing privilege separation directory: /run/sshd';;
            *--output=cat*) echo 'fatal: rexec of another program';;
            *) exit 1;;
            esac\n";
        world.instance.install("/usr/bin/journalctl", journalctl.as_bytes());
        let report = world.check();
        assert_eq!(report.status("network.banner"), "fail");
        let note = report.note("network.banner");
        let logged = "and sends nothing; it logs: fatal: Missing privilege separation directory: /run/sshd";
        assert!(note.ends_with(logged), "{note}");
    });
    // A signal stopped it. The sshd of a rehearsal runs.
    world(|world| {
        world.sh(&format!("kill -STOP $(cat {PID_FILE})"));
        let report = world.check_with(&[USER, "--rehearse"]);
        report.assert_exactly(&[("running.daemon", "fail")]);
        let note = report.note("running.daemon");
        assert!(note.ends_with("is stopped by a signal: no client gets an answer"), "{note}");
        world.apply(&report, "running.daemon");
        world.check().assert_healthy();
    });
    // It refuses all clients while one is connected.
    world(|world| {
        world.restart(&config().set("MaxStartups", "1:100:1").text());
        let open = std::net::TcpStream::connect("127.0.0.1:22").unwrap();
        let report = world.check_with(&[USER, "--rehearse"]);
        drop(open);
        report.assert_exactly(&[("sshd.limits", "warn"), ("network.banner", "warn")]);
        let summary = report.document["summary"].as_str().unwrap();
        let tried =
            format!("A login as {USER} from 127.0.0.1 works; sshd's own port did not answer as it should");
        assert!(summary.starts_with(&tried), "{summary}");
    });
}

/// Such a file is not read: the checks end, and have the result for a file that does not exist.
#[test]
fn system_files_that_cannot_be_read_to_their_end() {
    let without_end =
        ["/etc/hosts.deny", "/etc/hosts.allow", "/etc/pam.d/sshd", "/usr/lib/openssh/sshd-session"];
    world(|world| {
        for path in without_end {
            world.instance.write(path, "");
            std::fs::remove_file(path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        }
        // sshd itself reads the files of libwrap, and then gives no client an answer.
        let linked = std::fs::read("/usr/sbin/sshd").unwrap().windows(10).any(|bytes| bytes == b"libwrap.so");
        let expected: &[_] = if linked { &[("network.banner", "warn")] } else { &[] };
        world.check_in_time().assert_exactly(expected);
        for path in without_end {
            std::fs::remove_file(path).unwrap();
            std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        }
        world.check_in_time().assert_exactly(expected);
    });
}

/// What a program printed counts, even if something that it started keeps its outputs open; and that takes its time limit once.
#[test]
fn a_program_that_leaves_another_one_behind() {
    world(|world| {
        let rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j DROP\nCOMMIT";
        let script = format!("#!/bin/sh\nsleep 20 &\ncat <<'END'\n{rules}\nEND\n");
        world.instance.install("/usr/sbin/iptables-save", script.as_bytes());
        let report = world.check_in_time();
        assert_eq!(report.status("network.firewall"), "fail", "{}", report.note("network.firewall"));
        let duration = report.of("network.firewall")["duration_ms"].as_u64().unwrap();
        assert!(duration < 3_500, "{duration} ms");
    });
}
