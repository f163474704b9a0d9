#!/bin/busybox sh
# Process 1 until the image's own: load the virtio drivers, find the disks by the serial that QEMU gave them, lay a writable
# layer over the read-only system, unpack the seed if there is one, and go there. A failure ends the VM (`panic=-1`).
b=/bin/busybox
die() { $b echo "wnod-init: $*"; exit 1; }

$b mount -t devtmpfs dev /dev && $b mount -t proc proc /proc && $b mount -t sysfs sys /sys || die 'no devices'
for module in $($b cat /modules/order); do $b insmod /modules/$module || die "cannot load $module"; done

for disk in /sys/block/vd*; do
  read -r serial < $disk/serial
  eval "disk_$serial=/dev/${disk##*/}"
  echo 1024 > $disk/queue/read_ahead_kb
done
[ -n "$disk_os" ] && [ -n "$disk_scratch" ] || die 'a disk is missing'

# Scratch dies with the VM: nothing on it needs to survive a crash.
$b mount -t ext4 -o ro,noatime $disk_os /os || die 'cannot mount the OS disk'
$b mount -t ext4 -o noatime,nobarrier,noinit_itable $disk_scratch /scratch || die 'cannot mount the scratch disk'
$b mkdir /scratch/upper /scratch/work /scratch/tmp /scratch/vartmp
$b chmod 1777 /scratch/tmp /scratch/vartmp
$b mount -t overlay -o noatime,lowerdir=/os,upperdir=/scratch/upper,workdir=/scratch/work,volatile root /root || die 'cannot mount the root'
[ -z "$disk_seed" ] || $b tar -x -f $disk_seed -C /root || die 'cannot unpack the seed'

$b mount -o bind /scratch/tmp /root/tmp
$b mount -o bind /scratch/vartmp /root/var/tmp
$b mount -t tmpfs -o mode=755,nosuid,nodev run /root/run
# What jobs left in the writable layer can be seen here, by root alone.
$b mkdir -m 700 /root/run/wnod && $b mkdir /root/run/wnod/upper && $b mount -o bind /scratch/upper /root/run/wnod/upper
$b mount -o move /dev /root/dev && $b mount -o move /proc /root/proc && $b mount -o move /sys /root/sys || die 'cannot move the mounts'
$b mkdir /root/dev/pts /root/dev/shm /root/dev/mqueue
$b mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts /root/dev/pts
$b mount -t tmpfs -o mode=1777,nosuid,nodev shm /root/dev/shm
$b mount -t mqueue -o nosuid,nodev mqueue /root/dev/mqueue
$b ln -s /proc/self/fd /root/dev/fd
$b ln -s fd/0 /root/dev/stdin
$b ln -s fd/1 /root/dev/stdout
$b ln -s fd/2 /root/dev/stderr
$b mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup /root/sys/fs/cgroup
echo '+cpu +memory +pids +io' > /root/sys/fs/cgroup/cgroup.subtree_control
exec $b switch_root /root /sbin/init
