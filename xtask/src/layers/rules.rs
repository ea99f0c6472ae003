//! The layer rules as data, each with its reason. To change the architecture, change a row here
//! and say why in `docs/decisions/`.

/// Which workspace crates a crate may depend on.
pub(super) struct Layer {
    /// Package name.
    pub(super) name: &'static str,
    /// Workspace packages it may use; `None`: any of them.
    pub(super) may_use: Option<&'static [&'static str]>,
    /// Why.
    pub(super) reason: &'static str,
}

/// Top to bottom.
pub(super) const LAYERS: &[Layer] = &[
    Layer {
        name: "portreeve-cli",
        may_use: Some(&[
            "portreeve",
            "portreeve-client",
            "portreeve-config",
            "portreeve-control",
            "portreeve-sandbox",
            "portreeve-top",
            "portreeve-types",
        ]),
        reason: "the command is a user of the public library; whatever it needs and does not \
                 find there is missing for every other user too",
    },
    Layer {
        name: "portreeve-control",
        may_use: Some(&["portreeve", "portreeve-types", "portreeve-unix-socket"]),
        reason: "the control API speaks in API types and never sees engine internals",
    },
    Layer {
        name: "portreeve-top",
        may_use: Some(&["portreeve-client", "portreeve-types"]),
        reason: "the terminal view is a client of the API like any other",
    },
    Layer {
        name: "portreeve-client",
        may_use: Some(&["portreeve-types"]),
        reason: "a client speaks HTTP in API types, so that it can be built without any engine",
    },
    Layer {
        name: "portreeve-config",
        may_use: Some(&["portreeve-types"]),
        reason: "a configuration is read and compared without any engine, so that whoever embeds \
                 one may take it or leave it",
    },
    Layer {
        name: "portreeve",
        may_use: Some(&[
            "portreeve-core",
            "portreeve-dns",
            "portreeve-host",
            "portreeve-link",
            "portreeve-policy",
            "portreeve-types",
            "portreeve-wire",
        ]),
        reason: "the driver joins the core, the links and the host sockets; namespaces and \
                 commands are the sandbox's and joined to it by whoever embeds both",
    },
    Layer {
        name: "portreeve-sandbox",
        may_use: Some(&["portreeve-types"]),
        reason: "a namespace guest is made without any engine, so that it can be tested alone \
                 and used with another one",
    },
    Layer {
        name: "portreeve-core",
        may_use: Some(&["portreeve-types", "portreeve-wire", "portreeve-policy", "portreeve-dns"]),
        reason: "the core is sans-IO: links and host sockets are the shell's, reached through \
                 operations and events only",
    },
    Layer {
        name: "portreeve-link",
        may_use: Some(&["portreeve-types", "portreeve-unix-socket", "portreeve-wire"]),
        reason: "a link moves frames and does not know who reads them",
    },
    Layer {
        name: "portreeve-host",
        may_use: Some(&["portreeve-types", "portreeve-unix-socket", "portreeve-wire"]),
        reason: "host sockets do not know the engine that uses them",
    },
    Layer {
        name: "portreeve-unix-socket",
        may_use: Some(&[]),
        reason: "a path in the file system is held the same way whoever listens at it",
    },
    Layer {
        name: "portreeve-policy",
        may_use: Some(&["portreeve-types"]),
        reason: "a policy is a pure function of its specification and the query",
    },
    Layer {
        name: "portreeve-dns",
        may_use: Some(&["portreeve-types", "portreeve-wire"]),
        reason: "the name server is sans-IO and knows nothing of flows",
    },
    Layer {
        name: "portreeve-wire",
        may_use: Some(&[]),
        reason: "frame formats depend on nothing of ours",
    },
    Layer {
        name: "portreeve-types",
        may_use: Some(&[]),
        reason: "every crate may use the types, so they can use none",
    },
    Layer {
        name: "portreeve-testkit",
        may_use: Some(&["portreeve-core", "portreeve-types", "portreeve-wire"]),
        reason: "the test kit drives the core without any real socket or link",
    },
    Layer { name: "portreeve-e2e", may_use: None, reason: "end-to-end tests may reach everything" },
    Layer {
        name: "portreeve-bench",
        may_use: Some(&[]),
        reason: "the load generator treats every engine, ours too, as a command",
    },
    Layer {
        name: "xtask",
        may_use: Some(&[]),
        reason: "a check must not depend on what it checks",
    },
];

/// Crates for tests, and who may use them outside `[dev-dependencies]`.
pub(super) const DEV_ONLY: &str = "portreeve-testkit";
pub(super) const DEV_ONLY_USERS: &[&str] = &["portreeve-e2e"];
pub(super) const DEV_ONLY_REASON: &str =
    "the test kit never ships: list it under [dev-dependencies]";

/// Where a package from outside may not appear.
pub(super) enum Ban {
    /// Not below these workspace packages, directly or through others.
    Below(&'static [&'static str]),
    /// Only these workspace packages may name it as a dependency.
    OnlyIn(&'static [&'static str]),
    /// Nowhere in the graph.
    Everywhere,
}

/// A rule about packages from outside.
pub(super) struct External {
    /// Package names; a trailing `*` matches any rest.
    pub(super) packages: &'static [&'static str],
    /// Where they are banned.
    pub(super) ban: Ban,
    /// Why.
    pub(super) reason: &'static str,
}

/// Crates which must stay free of I/O.
pub(super) const SANS_IO: &[&str] =
    &["portreeve-core", "portreeve-dns", "portreeve-policy", "portreeve-types", "portreeve-wire"];

/// Rules about packages from outside.
pub(super) const EXTERNALS: &[External] = &[
    External {
        packages: &["tokio", "async-std", "smol", "mio", "rustix", "nix", "socket2"],
        ban: Ban::Below(SANS_IO),
        reason: "sans-IO: this layer opens no socket, makes no system call and has no runtime",
    },
    External {
        packages: &["libc"],
        ban: Ban::OnlyIn(&[
            "portreeve",
            "portreeve-bench",
            "portreeve-cli",
            "portreeve-e2e",
            "portreeve-host",
            "portreeve-link",
            "portreeve-sandbox",
        ]),
        reason: "sans-IO crates make no system call; the codecs of DNS and DHCP bring a random \
                 number generator that could, and that nothing here asks for any",
    },
    External {
        packages: &["mio"],
        ban: Ban::OnlyIn(&["portreeve", "portreeve-cli", "portreeve-control"]),
        reason: "there is one event loop, in the shell; links and host sockets only hand out fds",
    },
    External {
        packages: &["openssl*", "native-tls", "bindgen"],
        ban: Ban::Everywhere,
        reason: "the build needs a Rust toolchain and nothing else: no C library, no libclang",
    },
];

/// Directories of crates whose `lib.rs` or `main.rs` forbids unsafe code.
pub(super) const FORBID_UNSAFE: &[&str] = &[
    "crates/cli",
    "crates/client",
    "crates/config",
    "crates/control",
    "crates/core",
    "crates/dns",
    "crates/policy",
    "crates/testkit",
    "crates/top",
    "crates/types",
    "crates/unix-socket",
    "crates/wire",
    "xtask",
];

/// Directories of the sans-IO crates.
pub(super) const SANS_IO_DIRS: &[&str] =
    &["crates/core", "crates/dns", "crates/policy", "crates/types", "crates/wire"];

/// Paths a sans-IO crate does not use outside its tests. A path is banned when it ends in the
/// given segments.
pub(super) const SANS_IO_PATHS: &[(&str, &str)] = &[
    ("Instant::now", "time is an argument: the same inputs give the same outputs"),
    ("SystemTime::now", "time is an argument: the same inputs give the same outputs"),
    ("thread::spawn", "the core has no threads: one owner, through &mut self"),
    ("thread::sleep", "the core never waits: it names a deadline instead"),
    ("std::net::TcpStream", "sockets are the shell's, in crates/host"),
    ("std::net::TcpListener", "sockets are the shell's, in crates/host"),
    ("std::net::UdpSocket", "sockets are the shell's, in crates/host"),
    ("std::net::ToSocketAddrs", "resolving names is I/O and the shell's"),
];

/// Modules of smoltcp with state, and the files that may use them.
pub(super) const STACK_MODULES: &[&str] = &["smoltcp::socket", "smoltcp::iface"];
pub(super) const STACK_HOMES: &[&str] = &[
    "crates/core/src/flow/tcp/stack.rs",
    "crates/core/src/flow/tcp/stack/",
    // The demo's own guest where no kernel may be one: it is the other end, not the engine.
    "crates/cli/src/demo/in_process_guest.rs",
    "crates/cli/src/demo/in_process_guest/",
    "crates/testkit/",
];
pub(super) const STACK_REASON: &str = "smoltcp's sockets have one home, crates/core/src/flow/tcp/stack.rs, so that its released \
     faults are guarded in one place";
