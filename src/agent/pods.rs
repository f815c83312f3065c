//! Which processes are a pod's, by the UID in their control group's path, and which network is theirs.

use std::{borrow::Cow, collections::BTreeMap, fs, io, os::unix::fs::MetadataExt, time::Duration};

use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, open},
};

use super::{
    clock,
    wire::{Refusal, RefusalCode},
};

/// A process of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the kernel's clock ticks: the lowest is the pod's oldest process.
    pub started: u64,
    /// Its name.
    pub name: String,
    /// The container's id.
    pub container: String,
}

/// A pod's network namespace, kept by an open descriptor: a container that is started again changes nothing.
#[derive(Debug)]
pub struct Network {
    /// The namespace.
    pub namespace: OwnedFd,
    /// Its inode, which names it.
    pub inode: u64,
    /// Processes that the pod had.
    pub processes: u32,
    /// One that was seen in it.
    seen: u32,
}

impl Network {
    /// Whether it is still the pod's, without looking at every process of the node.
    pub fn holds(&self, pod: &str) -> bool {
        member(pod, self.seen).is_some()
            && inode_of(&self.seen.to_string()).is_ok_and(|inode| inode == self.inode)
    }
}

/// Which process is of which pod, as it was a moment ago: looking at all of a node's takes milliseconds, and
/// many pods are asked for at once.
#[derive(Debug, Default)]
pub struct Census {
    taken: Option<Duration>,
    by_pod: BTreeMap<String, Vec<u32>>,
}

/// How old a census may be.
const FRESH: Duration = Duration::from_millis(100);

impl Census {
    /// Every process of the pod, the oldest first.
    pub fn members(&mut self, pod: &str) -> io::Result<Vec<Member>> {
        if self.taken.is_none_or(|taken| clock::now() - taken > FRESH) {
            self.take()?;
        }
        let pids = self.by_pod.get(pod).into_iter().flatten();
        let mut found: Vec<Member> = pids.filter_map(|pid| member(pod, *pid)).collect();
        found.sort_unstable_by_key(|member| (member.started, member.pid));
        Ok(found)
    }

    fn take(&mut self) -> io::Result<()> {
        self.by_pod.clear();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that is gone by now is nobody's.
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            if let Some(pod) = groups.lines().flat_map(|line| line.split('/')).find_map(uid) {
                self.by_pod.entry(pod.into_owned()).or_default().push(pid);
            }
        }
        self.taken = Some(clock::now());
        Ok(())
    }
}

/// The process with this number, if it is the pod's: one that is gone is nobody's.
pub fn member(pod: &str, pid: u32) -> Option<Member> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let container = container(&groups, pod)?.to_owned();
    let (name, started) = name_and_start(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(Member { pid, started, name, container })
}

/// The id of the container of that pod that these control groups (`/proc/PID/cgroup`) are of; empty where the
/// path goes no further than the pod.
fn container<'a>(groups: &'a str, pod: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut parts =
            line.splitn(3, ':').nth(2)?.split('/').skip_while(|part| uid(part).as_deref() != Some(pod));
        parts.next()?;
        Some(id(parts.next().unwrap_or_default()))
    })
}

/// The UID in a part of a path: cgroupfs writes `podUID`, systemd `kubepods-burstable-podUID.slice` with `_` for
/// `-`.
fn uid(part: &str) -> Option<Cow<'_, str>> {
    let Some(slice) = part.strip_suffix(".slice") else { return part.strip_prefix("pod").map(Cow::Borrowed) };
    let name = slice.rsplit_once('-').map_or(slice, |(_, name)| name);
    name.strip_prefix("pod").map(|uid| Cow::Owned(uid.replace('_', "-")))
}

/// cgroupfs writes the id, systemd `cri-containerd-ID.scope`.
fn id(part: &str) -> &str {
    let Some(scope) = part.strip_suffix(".scope") else { return part };
    scope.rsplit_once('-').map_or(scope, |(_, id)| id)
}

/// From `/proc/PID/stat`, where the name stands in parentheses and may contain some.
fn name_and_start(stat: &str) -> Option<(String, u64)> {
    let (before, after) = stat.rsplit_once(") ")?;
    let name = before.split_once('(')?.1;
    Some((name.to_owned(), after.split(' ').nth(19)?.parse().ok()?))
}

/// The network namespace of a pod's oldest process, which is its sandbox's.
///
/// # Errors
/// There is no such pod here, or its network is not its own.
pub fn network(pod: &str, census: &mut Census) -> Result<Network, Refusal> {
    let members = census.members(pod).map_err(|error| failed(&error))?;
    let refusal = |code, why: String, remedy: &str| Err(Refusal { code, why, remedy: remedy.to_owned() });
    let found = members.iter().find_map(|member| {
        let path = format!("/proc/{}/ns/net", member.pid);
        let namespace = open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let inode = rustix::fs::fstat(&namespace).ok()?.st_ino;
        // The process may have ended in between, and another have its number.
        self::member(pod, member.pid).map(|_| (namespace, inode, member.pid))
    });
    let Some((namespace, inode, seen)) = found else {
        let why = format!("no process of pod {pod} is on this node");
        return refusal(
            RefusalCode::NoSuchPod,
            why,
            "Look where the pod is now, and whether it has started.",
        );
    };
    if of_the_node(inode)? {
        let why = format!("pod {pod} shares the node's network (hostNetwork)");
        return refusal(RefusalCode::HostNetwork, why, "Choose a pod with a network of its own.");
    }
    if inode_of("self")? == inode {
        let why = format!("pod {pod} is in the agent's own network namespace");
        return refusal(RefusalCode::OwnPod, why, "Choose another pod.");
    }
    let processes = u32::try_from(members.len()).unwrap_or(u32::MAX);
    Ok(Network { namespace, inode, processes, seen })
}

/// Whether this network namespace is the node's: that of its first process, and of the kernel's own threads,
/// which are seen unless the node is itself a container.
fn of_the_node(inode: u64) -> Result<bool, Refusal> {
    let kernel = fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n");
    match inode_of("1") {
        Ok(first) if !kernel => Ok(first == inode),
        Ok(first) => Ok(first == inode || inode_of("2")? == inode),
        Err(_) if kernel => Ok(inode_of("2")? == inode),
        Err(refusal) => Err(refusal),
    }
}

fn inode_of(process: &str) -> Result<u64, Refusal> {
    let data = fs::metadata(format!("/proc/{process}/ns/net")).map_err(|error| failed(&error))?;
    Ok(data.ino())
}

/// The node does not let the agent look.
fn failed(error: &io::Error) -> Refusal {
    Refusal {
        code: RefusalCode::Failed,
        why: format!("the node's processes cannot be read: {error}"),
        remedy: "The agent needs hostPID and the capability SYS_PTRACE.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &str = "0b5c9c9e-9a43-4a4e-8a3c-6f1e9b0a1c2d";
    const ID: &str = "5f2c8e0a7d";

    #[test]
    fn every_spelling_is_known() {
        let slice = POD.replace('-', "_");
        for groups in [
            // v1 and v2, cgroupfs.
            format!("9:name=systemd:/\n4:memory:/kubepods/burstable/pod{POD}/{ID}\n0::/\n"),
            format!("0::/kubepods/pod{POD}/{ID}\n"),
            format!("0::/kubepods/besteffort/pod{POD}/{ID}/init.scope\n"),
            // systemd: the three classes, and seen from another container's cgroup namespace.
            format!(
                "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{ID}.scope\n"
            ),
            format!("1:name=systemd:/kubepods.slice/kubepods-pod{slice}.slice/crio-{ID}.scope/inner\n"),
            format!("0::/../../kubepods-besteffort-pod{slice}.slice/docker-{ID}.scope\n"),
        ] {
            assert_eq!(container(&groups, POD), Some(ID), "{groups}");
        }
        assert_eq!(container(&format!("0::/kubepods/pod{POD}\n"), POD), Some(""));
    }

    #[test]
    fn another_pod_is_not_this_one() {
        for groups in [
            "0::/\n".to_owned(),
            String::new(),
            format!("0::/kubepods/pod{POD}0/{ID}\n"),
            format!("0::/kubepods/xpod{POD}/{ID}\n"),
            format!("0::/user.slice/{POD}/{ID}\n"),
            format!("0::/kubepods.slice/kubepods-pod{}_0.slice/{ID}\n", POD.replace('-', "_")),
        ] {
            assert_eq!(container(&groups, POD), None, "{groups}");
        }
    }

    #[test]
    fn a_name_may_contain_anything() {
        let rest = "S 1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        for name in ["nginx", "a) b (c", ""] {
            let read = name_and_start(&format!("42 ({name}) {rest}"));
            assert_eq!(read, Some((name.to_owned(), 4711)));
        }
        assert_eq!(name_and_start("42 (x"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,200}") {
            let _ = (container(&text, POD), name_and_start(&text));
        }
    }
}
