#!/bin/bash
# Process 1 of a lab node, in pid, mount, uts, ipc and network namespaces of its own. Killing it pulls the plug:
# everything that runs on the node dies with it, guests included.
# From the environment: NODE (Kubernetes name), DIR (the node's folder; DIR/disk outlives power cuts), IP, PROGRAMS, SHARED.
set -eu
mount --make-rprivate /
hostname "$NODE"

on_disk() { # a folder of the node's own disk
  mkdir -p "$1" "$DIR/disk$1"
  mount --bind "$DIR/disk$1" "$1"
}
for folder in /var/lib/kubelet /var/lib/containerd /var/lib/cni /etc/cni/net.d /var/log/pods /var/log/containers \
  /var/lib/kubevirt-node-labeller /var/lib/ringfence; do
  on_disk "$folder"
done
mkdir -p /srv/shared
mount --bind "$SHARED" /srv/shared
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/containerd /run/lock /run/netns

# /dev of a machine without hardware virtualization, and without the host's disks.
dev=$DIR/dev
mkdir -p "$dev"
mount -t tmpfs -o mode=755 dev "$dev"
mkdir -p "$dev"/{pts,shm,net,mqueue,san}
node() { mknod -m "$1" "$dev/$2" "$3" "$4" "$5"; }
node 666 null c 1 3
node 666 zero c 1 5
node 666 full c 1 7
node 666 random c 1 8
node 666 urandom c 1 9
node 666 tty c 5 0
node 600 kmsg c 1 11
node 666 net/tun c 10 200
node 600 fuse c 10 229
node 660 loop-control c 10 237
for number in $(seq 0 31); do node 660 "loop$number" b 7 "$number"; done
if [ -s "$SHARED/.luns" ]; then
  while read -r name minor; do node 660 "san/$name" b 7 "$minor"; done <"$SHARED/.luns"
fi
if [ -s "$SHARED/.luns-$NODE" ]; then # volumes of which each node has a device of its own (lab.fenced)
  while read -r name minor; do node 660 "san/$name" b 7 "$minor"; done <"$SHARED/.luns-$NODE"
fi
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$dev/pts"
mount -t tmpfs -o mode=1777 shm "$dev/shm"
mount -t mqueue mqueue "$dev/mqueue"
ln -s pts/ptmx "$dev/ptmx"
ln -s /proc/self/fd "$dev/fd"
ln -s fd/0 "$dev/stdin"
ln -s fd/1 "$dev/stdout"
ln -s fd/2 "$dev/stderr"
root=$(findmnt -no SOURCE /)
if [ -b "$root" ]; then cp -a "$root" "$dev/"; fi # kubelet looks the root file system up by its device
mount --move "$dev" /dev

# A new boot id with every power-on: the kubelet reports a reboot, the agent reads it by its hostPath.
cat /proc/sys/kernel/random/uuid >/run/boot_id
mount --bind /run/boot_id /proc/sys/kernel/random/boot_id
# The kubelet finds these settings as it wants them, and leaves the host's kernel alone.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=/run/sysctl/${setting%=*}
  mkdir -p "${file%/*}"
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%=*}"
done
mount --bind "$DIR/machine-id" /etc/machine-id
mount --make-rshared /

containerd -c "$DIR/containerd.toml" >>"$DIR/containerd.log" 2>&1 &
for _ in $(seq 300); do
  if ctr version >/dev/null 2>&1; then break; fi
  sleep 0.1 # between two looks whether containerd answers; bounded
done
"$PROGRAMS/csi" -mode=node -node="$NODE" >>"$DIR/csi.log" 2>&1 &
touch /run/kubelet-wanted
while :; do # the kubelet is started again unless a test has stopped it, as systemd would
  if [ -e /run/kubelet-wanted ]; then
    "$PROGRAMS/kubelet" --config "$DIR/kubelet.yaml" --kubeconfig "$DIR/kubeconfig" --hostname-override "$NODE" \
      --root-dir /var/lib/kubelet --node-ip "$IP" --cert-dir "$DIR/disk/pki" --node-labels "$LABELS" >>"$DIR/kubelet.log" 2>&1 &
    kubelet=$!
    while kill -0 "$kubelet" 2>/dev/null; do wait -n || true; done # reaps orphans meanwhile
  else
    sleep 0.2
  fi
done
