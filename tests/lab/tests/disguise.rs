//! The disguise is complete, closed, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
use eic_lab::instance::TRUST_STORES;
use eic_lab::namespace::Id;
use eic_lab::{Endpoint, IPV4, IPV6, Instance, Logger, Machine};
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

const ASSET_TAG: &str = "/sys/devices/virtual/dmi/id/board_asset_tag";

/// Runs a shell on the disguised machine.
fn shell(instance: &Instance, script: &str) -> String {
    let outcome = instance.command(["-c", script]).program("/bin/sh").run();
    assert_eq!(outcome.status, Some(0), "{script}: {}", outcome.stderr);
    outcome.stdout
}

#[test]
fn the_machine_is_an_instance() {
    let instance = Instance::start_without_program();
    assert_eq!(fs::read_to_string(ASSET_TAG).unwrap(), "i-0123456789abcdef0\n");
    instance.machine(Machine::Xen);
    assert!(!fs::exists(ASSET_TAG).unwrap());
    assert!(fs::read_to_string("/sys/hypervisor/uuid").unwrap().starts_with("ec2"));
    assert_eq!(shell(&instance, "cat /sys/hypervisor/uuid | cut -c-3"), "ec2\n");
}

#[test]
fn programs_run_as_sshd_would_run_them() {
    let instance = Instance::start_without_program();
    assert_eq!(shell(&instance, "id -un; id -Gn"), "eic-keys\neic-keys\n");
    assert_eq!(
        shell(&instance, "env | cut -d= -f1 | grep -v -e PWD -e SHLVL -e ^_ | sort | tr '\n' ' '"),
        "HOME LANG LOGNAME PATH USER "
    );
    assert_eq!(shell(&instance, "test -t 2 && echo a terminal; true"), "");
    let by_hand = instance
        .command(["-c", "test -t 2 && echo a terminal; echo said >&2"])
        .program("/bin/sh")
        .on_terminal();
    let by_hand = by_hand.run();
    assert_eq!((by_hand.stdout.as_str(), by_hand.stderr.as_str()), ("a terminal\n", "said\r\n"));
    let root = instance.command(["-u"]).program("/usr/bin/id").as_root().run();
    assert_eq!(root.stdout, "0\n");
    let full = instance.command(["text"]).program("/bin/echo").stdout_to("/dev/full").run();
    assert_eq!(full.status, Some(1));
    let closed = instance.command(["-c", "echo text"]).program("/bin/sh").stdout_closed().run();
    assert_ne!(closed.status, Some(0));
}

#[test]
fn a_run_that_hangs_fails_the_test() {
    let instance = Instance::start_without_program();
    for script in ["sleep 60", "sleep 60 & exit 0"] {
        let started = Instant::now();
        let run = instance.command(["-c", script]).program("/bin/sh").limit(Duration::from_millis(300));
        let outcome = catch_unwind(AssertUnwindSafe(|| run.run()));
        assert!(outcome.is_err(), "{script}");
        assert!(started.elapsed() < Duration::from_secs(30), "it is killed, and nobody waits for its end");
    }
}

#[test]
fn a_run_reports_its_processor_time() {
    let instance = Instance::start_without_program();
    let busy = instance
        .command(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"])
        .program("/bin/sh")
        .run();
    let idle = instance.command(["0.3"]).program("/bin/sleep").run();
    assert!(busy.cpu > Duration::from_millis(30), "{:?}", busy.cpu);
    assert!(idle.wall > Duration::from_millis(300) && idle.cpu < Duration::from_millis(30), "{idle:?}");
}

#[test]
fn a_run_reports_its_memory() {
    let instance = Instance::start_without_program();
    // The memory of the test process must not count.
    let own = vec![1_u8; 100 << 20];
    let small = instance.command(["-c", "exit 3"]).program("/bin/sh").with_memory().run();
    let large = "dd if=/dev/zero of=/dev/null bs=40M count=1";
    let large = instance.command(large.split(' ').skip(1)).program("/bin/dd").with_memory().run();
    assert_eq!((small.status, large.status), (Some(3), Some(0)));
    let (small, large) = (small.memory.unwrap(), large.memory.unwrap());
    assert!((200 << 10..8 << 20).contains(&small), "{small}");
    assert!((40 << 20..60 << 20).contains(&large), "{large}");
    assert_eq!(own[own.len() - 1], 1);
}

#[test]
fn written_files_stay_inside() {
    let etc = fs::metadata("/etc").unwrap();
    {
        let instance = Instance::start_without_program();
        instance.write("/etc/eic-lab-was-here", "yes");
        instance.install("/usr/bin/eic-lab-was-here", b"#!/bin/sh\n");
        assert!(fs::exists("/usr/bin/eic-lab-was-here").unwrap());
        assert!(!std::thread::scope(|s| s.spawn(|| fs::exists("/run/systemd").unwrap()).join().unwrap()));
    }
    assert!(!fs::exists("/etc/eic-lab-was-here").unwrap());
    assert!(!fs::exists("/usr/bin/eic-lab-was-here").unwrap());
    assert_eq!(fs::metadata("/etc").unwrap().mtime_nsec(), etc.mtime_nsec());
}

#[test]
fn the_machine_outside_cannot_be_reached() {
    let instance = Instance::start_without_program();
    for path in ["/var/lib/eic-lab", "/etc/../var/lib/eic-lab", "/home/eic-lab", "/tmp/eic-lab-was-here"] {
        let written = catch_unwind(AssertUnwindSafe(|| instance.write(path, "")));
        assert!(written.is_err(), "{path} was written");
    }
    let outside =
        catch_unwind(AssertUnwindSafe(|| instance.endpoint([127, 0, 0, 1].into(), Endpoint::Serving)));
    assert!(outside.is_err(), "it listens on another address");
}

#[test]
fn a_thread_enters_one_instance_at_a_time_and_leaves_it() {
    let before = Id::current();
    for _ in 0..2 {
        let instance = Instance::start_without_program();
        assert_ne!(Id::current(), before);
        let second = catch_unwind(Instance::start_without_program);
        assert!(second.is_err());
        drop(instance);
        assert_eq!(Id::current(), before);
    }
}

#[test]
fn instances_do_not_see_each_other() {
    let others: Vec<_> = (0..3)
        .map(|n| {
            std::thread::spawn(move || {
                let instance = Instance::start_without_program();
                instance.write("/etc/name", format!("{n}"));
                std::thread::sleep(Duration::from_millis(50));
                assert_eq!(fs::read_to_string("/etc/name").unwrap(), format!("{n}"));
                assert!(instance.imds.requests().is_empty());
                TcpStream::connect((IPV4, 80)).unwrap();
                while instance.imds.connections() == 0 {}
                assert_eq!(instance.imds.connections(), 1);
            })
        })
        .collect();
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn nothing_outlives_an_instance() {
    let instance = Instance::start_without_program();
    let inside = Id::current();
    // An orphaned process in a session of its own.
    shell(&instance, "setsid sleep 1000 >/dev/null 2>&1 & echo $!");
    let deadline = Instant::now() + Duration::from_secs(60);
    while inside.processes().is_empty() && Instant::now() < deadline {}
    assert!(!inside.processes().is_empty());
    drop(instance);
    assert!(inside.processes().is_empty(), "{:?}", inside.processes());
}

#[test]
fn the_machine_starts_quickly() {
    drop(Instance::start_without_program());
    let start = |_| {
        let started = Instant::now();
        drop(Instance::start_without_program());
        started.elapsed()
    };
    // About 30 ms alone; other tests run at the same time.
    let best = (0..5).map(start).min().unwrap();
    assert!(best < Duration::from_secs(1), "{best:?}");
}

#[test]
fn each_trust_store_is_used_by_itself() {
    let instance = Instance::start_without_program();
    for (system, path) in TRUST_STORES {
        instance.trust_store(path, system);
        let there: Vec<_> = TRUST_STORES.iter().filter(|(_, path)| fs::exists(path).unwrap()).collect();
        assert_eq!(there, [&(system, path)]);
        assert_eq!(fs::read_to_string(path).unwrap(), system);
    }
    instance.remove_trust_stores();
    assert!(TRUST_STORES.iter().all(|(_, path)| !fs::exists(path).unwrap()));
}

#[test]
fn each_endpoint_behaves_as_named() {
    let instance = Instance::start_without_program();
    let call = |address| TcpStream::connect_timeout(&(address, 80).into(), Duration::from_millis(300));
    for address in [IPV4.into(), IPV6.into()] {
        instance.endpoint(address, Endpoint::Serving);
        call(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        instance.endpoint(address, Endpoint::Refusing);
        assert_eq!(call(address).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
        instance.endpoint(address, Endpoint::Deaf);
        call(address).unwrap_or_else(|e| panic!("{address}: {e}"));
        instance.endpoint(address, Endpoint::Dropping);
        assert_eq!(call(address).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        instance.endpoint(address, Endpoint::Absent);
        assert_eq!(call(address).unwrap_err().kind(), std::io::ErrorKind::NetworkUnreachable);
        instance.endpoint(address, Endpoint::Serving);
        call(address).unwrap_or_else(|e| panic!("{address}: {e}"));
    }
}

#[test]
fn the_log_is_collected() {
    let instance = Instance::start_without_program();
    let log = |text: &str| {
        shell(&instance, &format!("logger -u /dev/log -d -t eic-keys -p authpriv.info '{text}'"))
    };
    for number in 0..50 {
        log(&format!("line {number}"));
    }
    let lines = instance.journal.lines();
    assert_eq!(lines.len(), 50);
    assert!(lines.iter().all(|line| (line.facility, line.severity) == (10, 6)));
    assert!(lines[49].text.ends_with("line 49"), "{}", lines[49].text);
    assert!(instance.journal.says("line 7") && !instance.journal.says("line 50"));
    instance.journal.clear();
    assert!(instance.journal.lines().is_empty());
}

#[test]
fn the_log_can_be_missing_dead_or_blocked() {
    use std::os::unix::net::UnixDatagram;
    let instance = Instance::start_without_program();
    let send = || {
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_nonblocking(true).unwrap();
        sender.send_to(b"<86>text", "/dev/log").map_err(|e| e.kind())
    };
    instance.logger(Logger::Absent);
    assert_eq!(send(), Err(std::io::ErrorKind::NotFound));
    instance.logger(Logger::Dead);
    assert_eq!(send(), Err(std::io::ErrorKind::ConnectionRefused));
    instance.logger(Logger::Stuck);
    assert_eq!(send(), Err(std::io::ErrorKind::WouldBlock));
    instance.logger(Logger::Reading);
    assert_eq!(send(), Ok(8));
    assert_eq!(instance.journal.lines().len(), 1);
}
