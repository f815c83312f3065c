//! Real nodes, seen from the machine that they are on: the processes of a pod, its network from within, and everything
//! that a fault could leave behind there. Takes root, as the nodes themselves do.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// A process by its number, its parent's, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    pub name: String,
}

/// The processes of a pod, by its UID in their control groups; the oldest, which holds its network, first.
pub fn processes(uid: &str) -> Vec<Process> {
    let spelled = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if spelled.iter().any(|name| groups.contains(name))
            && let Some((started, process)) = described(pid)
        {
            found.push((started, pid, process));
        }
    }
    found.sort_by_key(|(started, pid, _)| (*started, *pid));
    found.into_iter().map(|(_, _, process)| process).collect()
}

/// When it was started, and what it is; None once it has ended.
fn described(pid: u32) -> Option<(u64, Process)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.first() == Some(&"Z") {
        return None;
    }
    Some((fields.get(19)?.parse().ok()?, Process { pid, parent: fields.get(1)?.parse().ok()?, name }))
}

/// Ends a process.
pub fn kill(process: &Process) {
    if let Some(pid) = Pid::from_raw(i32::try_from(process.pid).unwrap_or(0)) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Does something in the network of a process, on a thread of its own, which goes on by itself.
pub fn beside<T: Send + 'static>(
    pid: u32,
    what: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<thread::JoinHandle<T>> {
    let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
    Ok(thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root");
        what()
    }))
}

/// What there is of a pod on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// Rules, queues and disciplines of its network.
    rules: Vec<String>,
    /// Its links.
    links: Vec<String>,
    /// Its processes with their mounts, and its control groups.
    processes: Vec<String>,
}

/// How much of a pod is the same afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// Everything.
    Everything,
    /// Its network: a container was started again.
    Network,
    /// The rules of its network alone: its node was started again.
    Rules,
}

impl Dump {
    /// What there is now.
    pub fn of(uid: &str) -> Self {
        let running = processes(uid);
        let Some(first) = running.first() else {
            return Self { rules: Vec::new(), links: Vec::new(), processes: Vec::new() };
        };
        let rules = [
            "nft list ruleset",
            "iptables-nft-save",
            "ip6tables-nft-save",
            "tc qdisc",
            "ip rule",
            "cat /proc/net/netfilter/nfnetlink_queue",
        ];
        let mut processes = groups(uid);
        for process in &running {
            processes.push(format!("== {process:?}"));
            for file in ["cgroup", "mounts"] {
                let text = fs::read_to_string(format!("/proc/{}/{file}", process.pid)).unwrap_or_default();
                processes.extend(text.lines().map(str::to_owned));
            }
        }
        Self {
            rules: rules.iter().flat_map(|command| said(first.pid, command)).collect(),
            links: said(first.pid, "ip -o link"),
            processes,
        }
    }

    /// What is there now and was not, and the other way round.
    pub fn differences(&self, after: &Self, same: Same) -> Vec<String> {
        let parts = [
            (&self.rules, &after.rules, true),
            (&self.links, &after.links, same != Same::Rules),
            (&self.processes, &after.processes, same == Same::Everything),
        ];
        let mut found = Vec::new();
        for (before, after, _) in parts.iter().filter(|(.., asked)| *asked) {
            found.extend(
                after.iter().filter(|line| !before.contains(line)).map(|line| format!("new: {line}")),
            );
            found.extend(
                before.iter().filter(|line| !after.contains(line)).map(|line| format!("gone: {line}")),
            );
        }
        found
    }
}

/// What a command prints in the network of a process, but for the times that iptables prints.
fn said(pid: u32, command: &str) -> Vec<String> {
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net=/proc/{pid}/ns/net")).args(command.split_whitespace());
    let output = inside.output().expect("nsenter is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter(|line| !line.starts_with("# "));
    [format!("== {command}")].into_iter().chain(lines.map(str::to_owned)).collect()
}

/// The control groups of a pod.
fn groups(uid: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            // The hierarchies of v1 are named once more by links.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if path.to_string_lossy().contains(uid) {
                    found.insert(path.to_string_lossy().into_owned());
                }
                open.push(path);
            }
        }
    }
    found.into_iter().collect()
}

/// What is left of a pod of ours on any node: processes, control groups, the kubelet's folder.
pub fn left_of(uid: &str, cluster: &Path) -> Vec<String> {
    let mut left: Vec<String> = processes(uid).iter().map(|process| format!("process {process:?}")).collect();
    left.extend(groups(uid).into_iter().map(|group| format!("control group {group}")));
    for node in ["real-0", "real-1"] {
        let folder = cluster.join(node).join("lib/kubelet/pods").join(uid);
        if folder.exists() {
            left.push(format!("folder {}", folder.display()));
        }
    }
    left
}
