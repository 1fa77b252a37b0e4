#!/bin/bash
# Process 1 of a node. It dies by SIGKILL only, and everything of the node dies with it: that is the power cut.
# Told by the environment: NODE, FOLDER (its disk and settings), ADDRESS, BOOT_ID, KUBELET, SHARED, LABELS.
set -eu
disk=$FOLDER/disk

# Whatever is mounted here stays here.
mount --make-rprivate /
hostname "$NODE"

# The node's own disk: what a reboot finds again.
for place in /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/lib/kubevirt-node-labeller /var/lib/ringfence \
    /var/log/pods /var/log/containers /etc/cni/net.d; do
  mkdir -p "$place" "$disk$place"
  mount --bind "$disk$place" "$place"
done
# The shared storage: a directory that every node sees.
mkdir -p /srv/shared
mount --bind "$SHARED" /srv/shared

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/containerd /run/lock /run/netns

# Devices: what a node without KVM offers. The root file system's own device must be among them, or cAdvisor can't
# measure it; loop devices are how kubelet holds on to block volumes.
dev=$FOLDER/dev
mkdir -p "$dev"
mount -t tmpfs -o mode=755 tmpfs "$dev"
mkdir "$dev"/{pts,shm,mqueue,net,san}
while read -r name mode major minor; do mknod -m "$mode" "$dev/$name" c "$major" "$minor"; done <<'DEVICES'
null 666 1 3
zero 666 1 5
full 666 1 7
random 666 1 8
urandom 666 1 9
kmsg 600 1 11
tty 666 5 0
net/tun 666 10 200
fuse 600 10 229
loop-control 660 10 237
DEVICES
for number in $(seq 0 63); do mknod -m 660 "$dev/loop$number" b 7 "$number"; done
root=$(findmnt --noheadings --output SOURCE /)
if [ -b "$root" ]; then cp --archive "$root" "$dev/"; fi
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$dev/shm"
mount -t mqueue mqueue "$dev/mqueue" || true
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${number%:*}" "$dev/${number#*:}"; done
# The SAN: each node has a device file of its own for the same disk, so that no lock on the file is common to two.
if [ -s "$SHARED/.san" ]; then
  while read -r name minor; do mknod -m 660 "$dev/san/$name" b 7 "$minor"; done <"$SHARED/.san"
fi
mount --move "$dev" /dev

# Who this node is, and which boot of it this is: kubelet reports both.
echo "$BOOT_ID" >/run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
mount --bind "$disk/machine-id" /etc/machine-id

# kubelet wants these settings and writes them for the whole host: let it find them as it wants them.
while read -r name value; do
  file=/run/sysctl/$name
  mkdir -p "$(dirname "$file")"
  echo "$value" >"$file"
  mount --bind "$file" "/proc/sys/$name"
done <<'SETTINGS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS
mount --make-rshared /

containerd --config "$FOLDER/containerd.toml" >>"$LOGS/$NODE-containerd.log" 2>&1 &
echo $! >/run/containerd.pid
for _ in $(seq 200); do
  if ctr version >/dev/null 2>&1; then break; fi
  sleep 0.1
done

# kubelet ends when somebody killed it on purpose: it comes back when /run/no-kubelet goes.
kubelet() {
  while :; do
    if [ ! -e /run/no-kubelet ]; then
      "$KUBELET" --config "$FOLDER/kubelet.yaml" --kubeconfig "$FOLDER/kubeconfig" --hostname-override "$NODE" \
        --root-dir /var/lib/kubelet --cert-dir "$disk/kubelet-pki" --node-ip "$ADDRESS" \
        ${LABELS:+--node-labels "$LABELS"} >>"$LOGS/$NODE-kubelet.log" 2>&1 &
      echo $! >/run/kubelet.pid
      wait $! || true
    fi
    sleep 0.3
  done
}
kubelet &
# Orphans end up here: reap them.
while :; do wait -n || true; sleep 0.5; done
