// An address of its own for the guest's network card. Part of late-seed.c, and of the guest's helper, vwn-agent/serve.c.
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

// The saved state of a template has its card's address, and QEMU gives every card the same one besides. From the pool that has just been
// reseeded; the first byte says: one card, and an address that somebody made up. A guest without network has no card.
static bool set_card_address(void)
{
    struct ifreq device = { .ifr_name = "eth0" };
    unsigned char *address = (unsigned char *)device.ifr_hwaddr.sa_data;
    device.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    int fd = getrandom(address, ETH_ALEN, 0) == ETH_ALEN ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    address[0] = (unsigned char)((address[0] & 0xfc) | 0x02);
    // The kernel then tells the network, which may have asked for the old one already and would go on using it.
    int notify = open("/proc/sys/net/ipv4/conf/eth0/arp_notify", O_WRONLY | O_CLOEXEC);
    if (notify >= 0 && write(notify, "1", 1) != 1)
        perror("arp_notify");
    close(notify);
    bool done = fd >= 0 && (ioctl(fd, SIOCSIFHWADDR, &device) == 0 || errno == ENODEV);
    int error = errno;
    close(fd);
    errno = error;
    return done;
}
