// What process 1 of the initramfs and late-seed.c have in common: disks are found by the serial that QEMU gave them, and a seed, which is a
// small tar at the beginning of a disk, is unpacked over a root. PROGRAM is whose words these are.
enum { BLOCK = 512, FIELD = 64, PATH_LENGTH = 512 };

_Noreturn static void die(const char *what)
{
    fprintf(stderr, PROGRAM ": %s: %s\n", what, strerror(errno));
    exit(1);
}

static void folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        die(path);
    if (chmod(path, mode) != 0) // whatever the umask
        die(path);
}

// The device of the virtio disk with this serial, "" where there is none.
static const char *find_disk(const char *serial)
{
    static char device[16];
    for (char letter = 'a'; letter <= 'z'; letter++) {
        char path[FIELD], found[FIELD] = "";
        snprintf(path, sizeof path, "/sys/block/vd%c/serial", letter);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            break;
        ssize_t length = read(fd, found, sizeof found - 1);
        close(fd);
        if (length <= 0 || strcmp(strtok(found, "\n"), serial) != 0)
            continue;
        snprintf(device, sizeof device, "/dev/vd%c", letter);
        return device;
    }
    return "";
}

struct header { // ustar, as tar(5) has it
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100], magic[8], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

static unsigned long octal(const char *text, size_t length)
{
    char digits[16] = "";
    memcpy(digits, text, length);
    return strtoul(digits, NULL, 8);
}

static void make_parents(const char *path)
{
    char parent[PATH_LENGTH];
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
        if (mkdir(parent, 0755) != 0 && errno != EEXIST)
            die(parent);
    }
}

static void copy_file(int tar, const char *path, mode_t mode, unsigned long size)
{
    char block[BLOCK];
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        die(path);
    for (unsigned long left = size; left > 0;) {
        size_t part = left < BLOCK ? left : BLOCK;
        if (read(tar, block, BLOCK) != BLOCK || write(fd, block, part) != (ssize_t)part)
            die(path);
        left -= part;
    }
    if (fchmod(fd, mode) != 0)
        die(path);
    close(fd);
}

// Unpacks the tar on the disk over this root. The bait wrote it; only files, folders and links of root's are in it.
static void unpack(const char *device, const char *root)
{
    struct header h;
    int tar = open(device, O_RDONLY | O_CLOEXEC);
    if (tar < 0)
        die(device);
    while (read(tar, &h, BLOCK) == BLOCK && h.name[0] != '\0') {
        char path[PATH_LENGTH], link[sizeof h.link + 1] = "";
        mode_t mode = (mode_t)octal(h.mode, sizeof h.mode) & 07777;
        snprintf(path, sizeof path, "%s/%.155s/%.100s", root, memcmp(h.magic, "ustar", 6) == 0 ? h.prefix : "", h.name);
        memcpy(link, h.link, sizeof h.link);
        errno = EBADMSG;
        if (strstr(path, "..") != NULL)
            die(path);
        make_parents(path);
        if (h.type == '5')
            folder(path, mode);
        else if (h.type == '2' && symlink(link, path) != 0)
            die(path);
        else if (h.type == '0' || h.type == '\0')
            copy_file(tar, path, mode, octal(h.size, sizeof h.size));
    }
    close(tar);
}
