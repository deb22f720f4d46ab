//! A Redis that pods of every node reach, for logs that replicas share.

use std::net::TcpListener;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use weir_tests::{Cluster, eventually};

use crate::objects::UP;

/// A running store, which ends with this value.
pub(crate) struct Store {
    /// Where it listens, as a manifest names it.
    pub(crate) address: String,
    _child: Child,
}

impl Store {
    /// Starts one in the network of the first node, under that node's address.
    pub(crate) async fn start(cluster: &Cluster) -> Result<Self> {
        let host = cluster.variable("WEIR_CLUSTER_NODE_ADDRESS").context("there is no node")?;
        let port = TcpListener::bind((host, 0))?.local_addr()?.port();
        let address = format!("{host}:{port}");
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", host, "--port", &port.to_string(), "--protected-mode", "no"]);
        // What is stored is thrown away with the story.
        redis.args(["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]);
        redis.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        let child = redis.spawn().context("no redis-server: run `cargo xtask setup`")?;
        eventually("Redis listens", UP, async || Ok(TcpStream::connect(&address).await?)).await?;
        Ok(Self { address, _child: child })
    }
}
