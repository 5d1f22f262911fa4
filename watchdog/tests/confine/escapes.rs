//! Files, processes, sockets and the network.

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Child, Stdio};

use provider::confine::Network;

use crate::Case;
use crate::replica::{Replica, assert_has, assert_no_secret};
use crate::setting::{Setting, find, open};

pub(crate) const CASES: &[Case] = &[
    ("reads what is its own", reads_its_own),
    ("writes what is its own", writes_its_own),
    ("reads no secrets of others", reads_no_secrets),
    ("reads no passwords of the system", reads_no_passwords),
    ("writes nowhere else", writes_nowhere_else),
    ("removes and links nothing", removes_and_links_nothing),
    ("gets no rights from a program", gets_no_rights),
    ("gets nothing of the environment", gets_no_environment),
    ("cannot see or end others", cannot_end_others),
    ("cannot read others' memory", cannot_read_memory),
    ("cannot reach abstract sockets", cannot_reach_abstract_sockets),
    ("has no network when it shall have none", has_no_network),
    ("changes nothing of the kernel", changes_nothing_of_the_kernel),
    ("programs work", programs_work),
];

fn reads_its_own(setting: Setting) {
    // Not where the sandbox has something else.
    let dir = tempfile::tempdir_in("/var/tmp").expect("a directory");
    open(dir.path());
    for name in ["given", "other"] {
        fs::create_dir(dir.path().join(name)).expect("our directory");
        fs::write(dir.path().join(name).join("tool"), format!("{name}-tool"))
            .expect("our directory");
    }
    let given = dir.path().join("given");
    let replica = Replica::start_with(setting, |spec, _| spec.readable = vec![given.clone()]);
    let text =
        replica.run("cat code; cat \"$secret_mount_path/token\"; /usr/bin/env true && echo ran");
    assert_has(&text, &["my-code", "my-token", "ran"]);
    let text = replica.run(&format!(
        "cat {0}/given/tool {0}/other/tool; touch {0}/given/x && echo WROTE; ls {0}",
        dir.path().display()
    ));
    assert_has(&text, &["given-tool"]);
    assert!(!text.contains("other-tool") && !text.contains("WROTE"), "{text}");
    let names = replica.run("cat /etc/passwd; cat /etc/hosts; pwd; hostname");
    assert_has(&names, &["root:x:0:0", "localhost"]);
    if setting.has_namespaces() {
        assert_has(&names, &["/home/app\n", "test-"]);
    }
}

fn writes_its_own(setting: Setting) {
    let replica = Replica::start(setting);
    let text = replica.run(
        "echo a > $TMPDIR/a && mkdir $TMPDIR/d && mv $TMPDIR/a $TMPDIR/d/b && cat $TMPDIR/d/b
         cd $HOME && ln -s d e && rm -r d e && echo removed",
    );
    assert_eq!(text, "a\nremoved\n");
    if setting.has_namespaces() {
        assert_eq!(replica.run("echo b > /dev/shm/b; cat /dev/shm/b"), "b\n");
    }
}

fn reads_no_secrets(setting: Setting) {
    let replica = Replica::start(setting);
    for name in [
        "gateway/password",
        "home/.ssh/id",
        "replicas/other/secrets/token",
        "bundles/other/code",
        "replicas/mine/spec.json",
    ] {
        let path = replica.state.path(name);
        fs::read(&path).expect("everybody may read it outside");
        let path = path.display();
        let text =
            replica.run(&format!("cat {path}; ls $(dirname {path}); cat /proc/1/root{path}"));
        assert_no_secret(&text);
        assert!(!text.contains("fprocess"), "{text}");
        // It can be seen neither through where it is now, nor by going up.
        let text = replica.run(&format!("cat ../..{path}; cat ../../../../../../../..{path}"));
        assert_no_secret(&text);
    }
}

fn reads_no_passwords(setting: Setting) {
    let replica = Replica::start(setting);
    let text = replica.run(
        "cat /etc/shadow /etc/gshadow /etc/sudoers /etc/ssl/private/*; ls /root /home/* | grep -v code
         ls -a /sys/kernel /boot /var/log; cat /etc/ssh/*; echo end",
    );
    assert!(!text.contains(":$") && !text.contains("root:*"), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| !line.ends_with("denied")).collect();
    let seen = lines.iter().filter(|line| !line.ends_with("such file or directory"));
    let seen: Vec<_> = seen.filter(|line| !line.is_empty()).collect();
    // With its own root directory it sees the name of its bundle's folder there.
    assert!(seen.iter().all(|line| ["end", "/home/app:", "/root:"].contains(line)), "{seen:?}");
}

fn writes_nowhere_else(setting: Setting) {
    let replica = Replica::start(setting);
    let secrets = "$secret_mount_path";
    for dir in
        ["/", "/usr", "/usr/bin", "/etc", "/home", "/var", "/run", "/dev", "/proc", ".", secrets]
    {
        let text = replica.run(&format!("touch {dir}/flint-escape && echo WROTE"));
        assert!(!text.contains("WROTE"), "{dir}: {text}");
    }
    let state = replica.state.path("gateway");
    for dir in [state.to_str().expect("a path"), "/root", "/var/tmp", "/dev/mqueue"] {
        let text = replica.run(&format!("touch {dir}/flint-escape && echo WROTE"));
        assert!(!text.contains("WROTE"), "{dir}: {text}");
    }
    let text = replica.run(
        "echo x >> code && echo WROTE; echo x > $secret_mount_path/token && echo WROTE
         echo x >> /usr/bin/env && echo WROTE; : > /etc/passwd && echo WROTE
         echo x >> /proc/self/exe && echo WROTE",
    );
    assert!(!text.contains("WROTE"), "{text}");
    assert_eq!(
        fs::read_to_string(replica.state.path("bundles/mine/code")).expect("ours"),
        "my-code"
    );
}

fn removes_and_links_nothing(setting: Setting) {
    let replica = Replica::start(setting);
    let password = replica.state.path("gateway/password");
    let shown = password.display();
    let text = replica.run(&format!(
        "rm -f {shown} code; mv code $TMPDIR/ && echo MOVED
         ln {shown} $TMPDIR/hard && cat $TMPDIR/hard; ln -s {shown} $TMPDIR/soft; cat $TMPDIR/soft
         truncate -s 0 {shown} && echo CUT"
    ));
    assert_no_secret(&text);
    assert!(!text.contains("MOVED") && !text.contains("CUT"), "{text}");
    assert_eq!(fs::read_to_string(&password).expect("still there"), "hush-password");
    assert!(replica.state.path("bundles/mine/code").exists());
}

fn gets_no_rights(setting: Setting) {
    let replica = Replica::start_with(setting, |_, state| {
        // Root's, set-user-id, and anybody may run it.
        let id = state.path("bundles/mine/id");
        fs::copy(find("id").expect("id"), &id).expect("our directory");
        fs::set_permissions(&id, fs::Permissions::from_mode(0o6755)).expect("our file");
    });
    let user = setting.user().to_string();
    assert_eq!(replica.run("./id -u; ./id -g"), format!("{user}\n{user}\n"));
    let status = replica.run("grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status");
    for line in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_has(&status, &[&format!("{line}:\t0000000000000000")]);
    }
    assert_has(&status, &["NoNewPrivs:\t1", "Seccomp:\t2"]);
    if setting.has_namespaces() {
        assert_has(&status, &["CapBnd:\t0000000000000000"]);
    }
    let text =
        replica.run("su -c 'id -u' root </dev/null; sudo -n id -u; mount -t tmpfs none $TMPDIR");
    assert!(user == "0" || !text.lines().any(|line| line == "0"), "{text}");
}

fn gets_no_environment(setting: Setting) {
    let replica = Replica::start(setting);
    assert_no_secret(&replica.run("env; cat /proc/self/environ /proc/1/environ /proc/*/environ"));
    let names =
        replica.run("env -u PWD -u OLDPWD -u SHLVL -u _ env | grep -v ^Http_ | cut -d= -f1 | sort");
    let expected = "HOME\nPATH\nTMPDIR\nfprocess\nlisten_socket\nmetrics_port\nmode\nport\nsecret_mount_path\n";
    assert_eq!(names.replace("PWD\n", ""), expected);
    let files = replica.run("ls -l /proc/$PPID/fd");
    assert!(!files.contains("replicas/mine/lock") && !files.contains("/log"), "{files}");
}

/// A process of the same user that is no part of the replica.
struct Bystander(Child);

impl Bystander {
    fn start(setting: Setting) -> Self {
        let mut command = setting.bystander();
        Self(
            command
                .arg("1000")
                .stdin(Stdio::null())
                .env("NOTE", "hush-note")
                .spawn()
                .expect("sleep"),
        )
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("our child").is_none()
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn cannot_end_others(setting: Setting) {
    let mut sibling = Bystander::start(setting);
    let replica = Replica::start(setting);
    let confiner = replica.confiner().as_raw_nonzero();
    let others = [sibling.0.id(), std::process::id(), confiner.get().cast_unsigned()];
    for pid in others {
        let text =
            replica.run(&format!("kill -9 {pid} && echo KILLED; kill -0 {pid} && echo SEEN"));
        assert!(!text.contains("KILLED") && !text.contains("SEEN"), "{text}");
        if setting.has_namespaces() {
            assert!(replica.run(&format!("ls /proc/{pid}/stat")).contains("No such file"));
        }
    }
    assert!(sibling.lives());
    if setting.has_namespaces() {
        // All that it can see is its own.
        let text = replica.run("kill -9 -1; sleep 1000 & kill -9 $! && wait $!; echo $?");
        assert_eq!(text.lines().last(), Some("137"), "{text}");
    }
    // Its own it may end.
    assert_has(&replica.run("sleep 1000 & kill $! && echo ended"), &["ended"]);
    assert!(sibling.lives());
}

fn cannot_read_memory(setting: Setting) {
    let mut sibling = Bystander::start(setting);
    let replica = Replica::start(setting);
    let pid = sibling.0.id();
    let attach = libc::SYS_ptrace;
    let read = libc::SYS_process_vm_readv;
    let text = replica.run(&format!(
        "perl -e 'print syscall({attach}, 16, {pid}, 0, 0), \" \", $!+0, \"\\n\"'
         perl -e 'print syscall({read}, {pid}, 0, 0, 0, 0, 0), \" \", $!+0, \"\\n\"'
         cat /proc/{pid}/environ /proc/{pid}/maps; ls /proc/{pid}/fd; head -c 1 /proc/{pid}/mem"
    ));
    assert!(text.starts_with("-1 1\n-1 1\n"), "{text}");
    assert_no_secret(&text);
    assert!(!text.contains("/sleep"), "{text}");
    assert!(sibling.lives());
}

fn cannot_reach_abstract_sockets(setting: Setting) {
    let replica = Replica::start(setting);
    let name = format!("flint-test-{}-{}", std::process::id(), setting.name().replace(' ', "-"));
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("a free name");
    UnixStream::connect_addr(&address).expect("outside it can be reached");
    let connect = "use Socket; socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die;";
    let text = replica.run(&format!(
        "perl -e '{connect} print connect($s, pack_sockaddr_un(\"\\0{name}\")) ? \"REACHED\" : \"no: $!\"'"
    ));
    assert!(text.starts_with("no: "), "{text}");
    let own = replica.run(&format!(
        "perl -e '{connect} $a = pack_sockaddr_un(\"\\0own-$$\"); bind($s, $a) && listen($s, 1) or die $!;
          socket(my $c, AF_UNIX, SOCK_STREAM, 0); print connect($c, $a) ? \"fine\" : \"no: $!\"'"
    ));
    assert_eq!(own, "fine");
}

fn has_no_network(setting: Setting) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("a port").port();
    let connect = format!(
        "perl -e 'use Socket; socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
         print connect($s, pack_sockaddr_in({port}, inet_aton(\"127.0.0.1\"))) ? \"REACHED\" : \"no: $!\"'"
    );
    if !setting.has_namespaces() {
        let mut replica = Replica::launch(setting, |spec, _| spec.network = Network::None);
        assert_has(&replica.exit().error, &["network: none", "there can be none here", "allow"]);
        return;
    }
    let replica = Replica::start_with(setting, |spec, _| spec.network = Network::None);
    assert_has(&replica.run(&connect), &["no: "]);
    let interfaces = replica.run("tail -n +3 /proc/net/dev | cut -d: -f1");
    assert!(
        interfaces.lines().all(|line| ["lo", "sit0", "tunl0", "ip6tnl0"].contains(&line.trim()))
    );
    // The loopback of its own works, and it is served through its socket, as these calls were.
    let own = replica.run(
        "perl -e 'use Socket; socket(my $l, AF_INET, SOCK_STREAM, 0); bind($l, pack_sockaddr_in(0, INADDR_LOOPBACK));
         listen($l, 1); socket(my $s, AF_INET, SOCK_STREAM, 0); print connect($s, getsockname($l)) ? \"fine\" : \"no: $!\"'",
    );
    assert_eq!(own, "fine");
    // Another one reaches it.
    assert_eq!(Replica::start(setting).run(&connect), "REACHED");
}

fn changes_nothing_of_the_kernel(setting: Setting) {
    let replica = Replica::start(setting);
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern");
    let text = replica.run(
        "echo x > /proc/sys/kernel/core_pattern && echo WROTE; echo x > /proc/sysrq-trigger && echo WROTE
         echo 1 > /proc/sys/kernel/sysrq && echo WROTE; mknod $TMPDIR/disk b 8 0 && echo MADE
         mknod $TMPDIR/null c 1 3 && echo MADE; cat /proc/kcore | head -c 1 | wc -c; dmesg | head -1",
    );
    assert!(!text.contains("WROTE") && !text.contains("MADE"), "{text}");
    assert!(!text.lines().any(|line| line == "1"), "{text}");
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern"), before);
}

/// Threads, compiled code, child processes, name resolution: what runtimes do.
fn programs_work(setting: Setting) {
    let replica = Replica::start_with(setting, |spec, _| spec.limits.memory = Some(512 << 20));
    assert_has(&replica.run("perl -e 'print join \",\", map { `echo $_` } 1..3'"), &["1\n,2\n,3"]);
    assert_has(
        &replica.run("getent hosts localhost; mkfifo $TMPDIR/f && echo made"),
        &["localhost", "made"],
    );
    if find("node").is_some() {
        let script = "const {Worker}=require('worker_threads');const cp=require('child_process');\
                      require('os').networkInterfaces();require('fs').watch(process.env.TMPDIR).close();\
                      let n=0;for(let i=0;i<3e5;i++)n+=Math.sqrt(i);\
                      console.log(cp.execSync('echo child').toString());\
                      new Worker('console.log(\\\"worker\\\")',{eval:true})";
        assert_has(&replica.run(&format!("node -e \"{script}\"")), &["child", "worker"]);
    }
    if find("python3").is_some() {
        let script = "import threading,subprocess,mmap,socket,ssl,os\nt=threading.Thread(target=lambda:print('thread'))\n\
                      t.start();t.join()\nprint(subprocess.check_output(['echo','child']))\nos.memfd_create('x')\n\
                      socket.create_server(('127.0.0.1',0)).close()\nssl.create_default_context()";
        assert_has(
            &replica.run(&format!("/usr/bin/python3 -c \"{script}\"")),
            &["thread", "child"],
        );
    }
}
