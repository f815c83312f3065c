//! A node in miniature: network namespaces on one bridge, and processes in control groups as a kubelet's.

use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Runs a command that has to succeed.
pub fn run(command: &str) -> String {
    let words: Vec<&str> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect(command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Does something in a network namespace, on a thread of its own.
pub fn inside<T: Send + 'static>(namespace: &str, what: impl FnOnce() -> T + Send + 'static) -> T {
    beside(namespace, what).join().expect("what runs in a namespace does not panic")
}

/// As [`inside`], without waiting for it.
pub fn beside<T: Send + 'static>(
    namespace: &str,
    what: impl FnOnce() -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let path = format!("/run/netns/{namespace}");
    thread::spawn(move || {
        let file = File::open(&path).expect("a namespace of this test");
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
        what()
    })
}

/// Namespaces on one bridge. Everything goes with it.
pub struct World {
    name: String,
    hosts: u32,
    children: Vec<Child>,
    groups: Vec<PathBuf>,
}

/// A namespace with its addresses.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its name.
    pub namespace: String,
    /// `10.77.0.N`.
    pub v4: String,
    /// `fd77::N`.
    pub v6: String,
}

/// A host with processes of one pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Where it is.
    pub host: Host,
    /// Its UID.
    pub uid: String,
    /// Its processes, in the order in which they were started.
    pub pids: Vec<u32>,
}

impl World {
    /// An empty one.
    pub fn new() -> Self {
        let name = format!("fdt{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(&format!("ip netns add {name}"));
        run(&format!("ip -n {name} link add br0 type bridge"));
        run(&format!("ip -n {name} link set br0 up"));
        Self { name, hosts: 0, children: Vec::new(), groups: Vec::new() }
    }

    /// A namespace on the bridge.
    pub fn host(&mut self) -> Host {
        self.hosts += 1;
        let (name, n) = (&self.name, self.hosts);
        let namespace = format!("{name}-{n}");
        run(&format!("ip netns add {namespace}"));
        run(&format!("ip -n {name} link add v{n} type veth peer name eth0 netns {namespace}"));
        run(&format!("ip -n {name} link set v{n} master br0 up"));
        let (v4, v6) = (format!("10.77.0.{n}"), format!("fd77::{n:x}"));
        for command in [
            "link set lo up".to_owned(),
            format!("addr add {v4}/24 dev eth0"),
            format!("addr add {v6}/64 dev eth0 nodad"),
            "link set eth0 up".to_owned(),
        ] {
            run(&format!("ip -n {namespace} {command}"));
        }
        Host { namespace, v4, v6 }
    }

    /// A pod with two processes, `pause` and `sleep`, each in a container of its own.
    pub fn pod(&mut self) -> Pod {
        let host = self.host();
        let uid = format!("0b5c9c9e-9a43-4a4e-8a3c-{:08x}{:04x}", std::process::id(), self.hosts);
        let mut pod = Pod { host, uid, pids: Vec::new() };
        self.container(&mut pod, "pause00000", "pause");
        self.container(&mut pod, "c111111111", "sleep");
        pod
    }

    /// A pod that shares this machine's own network.
    pub fn on_the_node(&mut self) -> Pod {
        let host = Host { namespace: String::new(), v4: String::new(), v6: String::new() };
        let uid = format!("0b5c9c9e-9a43-4a4e-8a3c-{:08x}ffff", std::process::id());
        let mut pod = Pod { host, uid, pids: Vec::new() };
        self.container(&mut pod, "c111111111", "sleep");
        pod
    }

    /// Another container of the pod, with one process of this name.
    pub fn container(&mut self, pod: &mut Pod, id: &str, name: &str) {
        // The name of a process is that of its file: a copy of it.
        let program = std::env::temp_dir().join(format!("{}-{}", self.name, self.children.len()));
        fs::create_dir_all(&program).expect("a folder for programs");
        let program = program.join(name);
        fs::copy(fs::canonicalize("/bin/sleep").expect("sleep"), &program).expect("a copy of sleep");
        let mut command = Command::new(if pod.host.namespace.is_empty() { "env" } else { "ip" });
        if !pod.host.namespace.is_empty() {
            command.args(["netns", "exec", &pod.host.namespace]);
        }
        let child = command.arg(program).arg("1000").stdin(Stdio::null()).spawn().expect("a process");
        let root = if fs::metadata("/sys/fs/cgroup/pids").is_ok() {
            "/sys/fs/cgroup/pids"
        } else {
            "/sys/fs/cgroup"
        };
        let group = PathBuf::from(format!("{root}/{}/kubepods/burstable/pod{}/{id}", self.name, pod.uid));
        fs::create_dir_all(&group).expect("a control group");
        fs::write(group.join("cgroup.procs"), child.id().to_string()).expect("a process of the group");
        pod.pids.push(child.id());
        self.children.push(child);
        self.groups.push(group);
        // `ip` becomes the program by exec: the name tells when.
        while fs::read_to_string(format!("/proc/{}/comm", pod.pids[pod.pids.len() - 1]))
            .unwrap_or_default()
            .trim()
            != name
        {
            thread::yield_now();
        }
    }

    /// Everything that a fault could leave behind in a pod.
    pub fn dump(&self, pod: &Pod) -> String {
        let namespace = &pod.host.namespace;
        let mut dump = String::new();
        for command in [
            "nft list ruleset",
            "iptables-nft-save",
            "ip6tables-nft-save",
            "ip -o link",
            "tc qdisc",
            "ip rule",
        ] {
            dump += &format!("== {command}\n{}", run(&format!("ip netns exec {namespace} {command}")));
        }
        for pid in &pod.pids {
            dump += &format!("== {pid}\n");
            for file in ["mounts", "cgroup", "comm"] {
                dump += &fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            }
        }
        dump += "== queues\n";
        dump += &inside(namespace, || {
            fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap_or_default()
        });
        // But for the times that iptables prints, and the mounts of namespaces that tests make.
        let kept = dump.lines().filter(|line| !line.starts_with("# ") && !line.contains("/netns"));
        kept.map(|line| format!("{line}\n")).collect()
    }

    /// Fails with the lines that are not as they were.
    pub fn assert_unchanged(&self, pod: &Pod, before: &str) {
        let after = self.dump(pod);
        let new: Vec<&str> = after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
        let gone: Vec<&str> = before.lines().filter(|line| !after.lines().any(|now| now == *line)).collect();
        assert!(new.is_empty() && gone.is_empty() && after == before, "new: {new:#?}\ngone: {gone:#?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for group in self.groups.iter().rev() {
            // A group can be removed once its processes are; then those above it.
            for folder in group.ancestors().take_while(|folder| folder.to_string_lossy().contains(&self.name))
            {
                let _ = fs::remove_dir(folder);
            }
        }
        for n in 1..=self.hosts {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{n}", self.name)]).status();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
        for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.name)) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
