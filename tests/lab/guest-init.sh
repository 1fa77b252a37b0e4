#!/bin/sh
# The guest: it ticks. Once a second it writes "sequence instance time" to its second partition, sector 0 (the last
# tick) and the sector of that number (the history), synced, and says so on its console. Before each tick it reads its
# last one from the disk itself: another one there means that two guests write this disk.
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "GUEST no module $module"; done
disk=/dev/vda2
tries=0
while [ ! -b $disk ] && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
instance=$(cut -c1-8 /proc/sys/kernel/random/boot_id)
if [ ! -b $disk ]; then
  echo "GUEST no disk $disk"
  while :; do sleep 3600; done
fi
echo "GUEST up instance=$instance uptime=$(cut -d' ' -f1 /proc/uptime)"

sector() { dd if=$disk bs=512 skip="$1" count=1 iflag=direct 2>/dev/null | tr -d '\000'; }
store() { printf '%-511s\n' "$2" | dd of=$disk bs=512 seek="$1" count=1 conv=notrunc,fsync 2>/dev/null; }

mine=
last=$(sector 0)
sequence=${last%% *}
case $sequence in '' | *[!0-9]*) sequence=0 ;; esac
while :; do
  if [ -n "$mine" ]; then
    found=$(sector 0)
    found=${found%%  *}
    [ "$found" = "$mine" ] || echo "FOREIGN-WRITE mine=<$mine> found=<$found>"
  fi
  sequence=$((sequence + 1))
  tick="$sequence $instance $(date +%s)"
  if store "$sequence" "$tick" && store 0 "$tick"; then mine=$tick; echo "TICK $tick"; else echo "TICK-FAILED $tick"; fi
  sleep 1
done
