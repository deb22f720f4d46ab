#!/bin/sh
# Pid 1 of a node. It runs in mount, pid, UTS and network namespaces of its own, gives the node the folders
# and kernel settings it expects, and keeps its three daemons running as an init system would.
set -eu

mount --make-rshared /
echo "$NODE_NAME" >/proc/sys/kernel/hostname

# Paths that the kubelet, the container runtime and the network plugins hard-code.
mount --bind "$NODE/var-lib" /var/lib
mount --bind "$NODE/var-log" /var/log
mount --bind "$NODE/run" /run

# The kubelet checks these and must neither find them wrong nor change the machine's.
for file in "$CONFIG"/kernel/*; do
    setting=/proc/sys/$(basename "$file" | tr . /)
    if [ -e "$setting" ]; then mount --bind "$file" "$setting"; fi
done

keep() {
    log=$LOGS/$1-$NODE_NAME.log
    shift
    while :; do
        "$@" >>"$log" 2>&1 || echo "node-init: ended with status $?, starting it again" >>"$log"
        sleep 0.5
    done
}

containerd() {
    # A socket of a killed runtime would make its clients fail instead of wait.
    rm -f /run/containerd/containerd.sock
    "$BIN/containerd" --config "$NODE_CONFIG/containerd.toml"
}

keep containerd containerd &

# The kubelet gives up at once when there is no runtime, and is slow to retry a missing API server.
until "$BIN/ctr" version >/dev/null 2>&1 && [ -e "$NODE/api-server-is-ready" ]; do sleep 0.1; done

keep kubelet "$BIN/kubelet" --config="$NODE_CONFIG/kubelet.yaml" --kubeconfig="$NODE_CONFIG/kubelet.kubeconfig" \
    --hostname-override="$NODE_NAME" --node-ip="$NODE_ADDRESS" --v=2 &
keep kube-proxy "$BIN/kube-proxy" --config="$NODE_CONFIG/kube-proxy.yaml" --v=2 &

wait
