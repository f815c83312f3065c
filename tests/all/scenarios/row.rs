//! What a row of the table says.

use firedrill::{engine::Request, env::Env, types::Verdict};
use futures::future::BoxFuture;

/// What somebody else does, and their words afterwards.
pub type Act = fn(Actor) -> BoxFuture<'static, Result<String, String>>;

/// Somebody else, and where they are.
#[derive(Clone)]
pub struct Actor {
    /// With an administrator's rights.
    pub client: kube::Client,
    /// The row's namespace.
    pub namespace: String,
    /// The world of the run itself, for a second one.
    pub env: Env,
    /// What the run was asked for.
    pub request: Option<Request>,
}

/// When somebody else acts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before anything is looked at; what they leave is part of the state before.
    Before,
    /// At the first record of this type; further words are what it holds.
    At(&'static str),
}

/// What has to come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It ran, and this is what it meant.
    Ran(Verdict),
    /// It was refused, for these reasons and no others.
    Refused(Vec<&'static str>),
}

/// Where a row can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Wherever there is a control plane.
    Anywhere,
    /// The same, with the cluster to itself: it counts all nodes, or changes what concerns everybody.
    Alone,
    /// Where pods really answer requests and something measures that.
    WithMetrics,
    /// On real nodes alone: it takes programs in pods, a network plugin, or kubelets that measure.
    OnNodes,
    /// On real nodes, in a namespace of its own beside other rows, and on the embedded cluster.
    OnBoth,
    /// On the embedded cluster alone: it takes kubelets that pull images, or resource metrics.
    Embedded,
}

/// What pods of the row see of each other while a step's fault is in force on one of the two. Looked at from within
/// their networks, and so on real nodes alone; whom the fault does not hit sees what was there before.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// The app that connects.
    pub from: &'static str,
    /// The app that is connected to.
    pub to: &'static str,
    /// The port; whether anybody listens is all the same.
    pub port: u16,
    /// Whose fault it is.
    pub step: &'static str,
    /// What is seen.
    pub sees: Sees,
}

/// What becomes of connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sees {
    /// Half of them take so many milliseconds or more.
    Slower(f64),
    /// Some are lost, and some are not.
    Loses,
    /// All are lost.
    Nothing,
    /// What there was before.
    AsBefore,
}

/// One scenario.
pub struct Row {
    /// Its name, and that of its namespace.
    pub name: &'static str,
    /// Its namespace, where that is not its name.
    pub namespace: &'static str,
    /// Manifests; `$NS` is the namespace.
    pub objects: String,
    /// The file; `$NS` is the namespace.
    pub experiment: String,
    /// For every choice.
    pub seed: u64,
    /// `--allow-namespace`.
    pub allowed: Vec<&'static str>,
    /// `--bystanders`.
    pub bystanders: Vec<&'static str>,
    /// Who interferes.
    pub acts: Vec<(Moment, Act)>,
    /// What has to come of it.
    pub expect: Expect,
    /// For each, one record holds all of its words.
    pub journal: Vec<&'static str>,
    /// For each, no record holds all of its words.
    pub never: Vec<&'static str>,
    /// For each, somebody else has said it.
    pub said: Vec<&'static str>,
    /// Kinds that may differ in the end, for somebody else has changed them.
    pub differs: Vec<&'static str>,
    /// What is there in the end: key, JSON pointer, JSON.
    pub left: Vec<(&'static str, &'static str, &'static str)>,
    /// What its pods see of each other.
    pub sights: Vec<Sight>,
    /// Whether it runs as the ServiceAccount `drill` of its namespace.
    pub as_account: bool,
    /// Where it can be judged.
    pub judged: Judged,
}

/// A row that says nothing yet but that the hypothesis holds.
pub fn row(name: &'static str) -> Row {
    Row {
        name,
        namespace: name,
        objects: String::new(),
        experiment: String::new(),
        seed: 7,
        allowed: Vec::new(),
        bystanders: Vec::new(),
        acts: Vec::new(),
        expect: Expect::Ran(Verdict::Passed),
        journal: Vec::new(),
        never: Vec::new(),
        said: Vec::new(),
        differs: Vec::new(),
        left: Vec::new(),
        sights: Vec::new(),
        as_account: false,
        judged: Judged::Anywhere,
    }
}

impl Row {
    pub fn objects(mut self, texts: &[&str]) -> Self {
        self.objects = texts.join("\n---\n");
        self
    }

    /// Steady state, method and the rest of `spec`, each as YAML indented by two.
    pub fn spec(mut self, steady_state: &str, method: &str, rest: &str) -> Self {
        self.experiment = format!(
            "apiVersion: firedrill.dev/v1alpha1\nkind: Experiment\nmetadata: {{name: $NS, namespace: $NS}}\nspec:\n  hypothesis: {}.\n  steadyState:\n{steady_state}\n  method:\n{method}\n{rest}\n",
            self.name.replace('-', " ")
        );
        self
    }

    /// A whole file.
    pub fn file(mut self, text: &str) -> Self {
        text.clone_into(&mut self.experiment);
        self
    }

    pub fn ends(mut self, verdict: Verdict) -> Self {
        self.expect = Expect::Ran(verdict);
        self
    }

    pub fn refused(mut self, codes: &[&'static str]) -> Self {
        self.expect = Expect::Refused(codes.to_vec());
        self
    }

    pub fn act(mut self, moment: Moment, act: Act) -> Self {
        self.acts.push((moment, act));
        self
    }

    pub fn journal(mut self, words: &[&'static str]) -> Self {
        self.journal.extend(words);
        self
    }

    pub fn never(mut self, words: &[&'static str]) -> Self {
        self.never.extend(words);
        self
    }

    pub fn said(mut self, words: &'static str) -> Self {
        self.said.push(words);
        self
    }

    pub fn differs(mut self, kinds: &[&'static str]) -> Self {
        self.differs.extend(kinds);
        self
    }

    pub fn left(mut self, key: &'static str, pointer: &'static str, json: &'static str) -> Self {
        self.left.push((key, pointer, json));
        self
    }

    /// Pods of `from` see this of those of `to` at `port`, while the fault of `step` is in force on one of them.
    pub fn sight(
        mut self,
        (from, to, port): (&'static str, &'static str, u16),
        step: &'static str,
        sees: Sees,
    ) -> Self {
        self.sights.push(Sight { from, to, port, step, sees });
        self
    }

    pub fn allow(mut self, namespace: &'static str) -> Self {
        self.allowed.push(namespace);
        self
    }

    pub fn bystanders(mut self, namespace: &'static str) -> Self {
        self.bystanders.push(namespace);
        self
    }

    pub fn by_account(mut self) -> Self {
        self.as_account = true;
        self
    }

    pub fn alone(mut self) -> Self {
        self.judged = Judged::Alone;
        self
    }

    /// Not on a control plane without kubelets and metrics.
    pub fn embedded(mut self) -> Self {
        self.judged = Judged::Embedded;
        self
    }

    /// Of the shop, in its own namespace, with metrics.
    pub fn of_the_shop(mut self) -> Self {
        self.namespace = "shop";
        self.judged = Judged::WithMetrics;
        self
    }

    /// On real nodes as well.
    pub fn on_both(mut self) -> Self {
        self.judged = Judged::OnBoth;
        self
    }

    /// The same on real nodes alone.
    pub fn on_nodes(self) -> Self {
        Self { judged: Judged::OnNodes, ..self.of_the_shop() }
    }

    /// Text of the row, with its namespace filled in.
    pub fn fill(&self, text: &str) -> String {
        text.replace("$NS", self.namespace)
    }
}
