// The guest's end of the virtio-serial port, one JSON message a line, and what makes this guest the VWN that the bait says it is. Part of
// wnod-guest; serve.c calls it. A clone becomes somebody before node has run an instruction: all that node runs first after a restore has
// to be translated anew where the processor is emulated, which takes longer than all that is done here.
//
//   identity ─▶ random pool, card's address, clock, keys ─▶ names, while the ssh server goes on ─▶ it listens ─▶ ready
//   forget ─▶ no key, no ssh server of before ─▶ a new one waits for its key ─▶ hello        before a template is saved
//
// Commands of the agent: "port PATH ETC SSH KERNEL SSHD PORT" (the port's device or fd:N, the folders where its files go, of which `-` is
// none, the ssh server and where that listens, 0 for nowhere) is answered; "hello JSON" (sent again and again until an identity has come)
// and "tell JSON" (sent once) are not. News for the agent: "port LINE", whatever else has come, and "became OFFSET FILE…", the distance of
// the clocks in ms (`-` where they are left alone) and the files that were written. That can wait: it goes before the next thing that the agent must be told.
enum { LINE_BYTES_MAX = 64 << 10, TELL_MAX = 16, HELLO_MS = 500, PAUSE_MS_FIRST = 10, PAUSE_MS_MOST = 250, FEED_MS = 2, SSH_MS = 20000, PLACE_BYTES = 128 };

static struct {
    char path[PLACE_BYTES];
    int fd;                // -1 while it is not open
    int64_t again_at;      // nobody is connected at the host's side, or there is no device yet: looked at then; 0 when it is polled
    int pause;             // ms until the next look
    char *tell[TELL_MAX];  // lines that wait for a host that reads
    size_t telling, told;  // how many, and how much of the first is sent
    char *hello;
    int64_t hello_at;      // 0: an identity has come
    char line[LINE_BYTES_MAX];
    size_t used;
    bool too_long;
} port = { .fd = -1 };

static struct {
    char etc[PLACE_BYTES], ssh[PLACE_BYTES], kernel[PLACE_BYTES], sshd[PLACE_BYTES];
    int ssh_port;
} places;

static struct {
    char vwn[80];
    long long term, epoch;
    bool known, ready;
    int64_t began_at;      // microseconds
    long long offset_ms;
    int sshd;              // the FIFO from which the ssh server reads its host key, open as soon as it waits there; -1
    bool fed;              // it has its key
    char host_key[16400];
    bool forgetting;       // a new ssh server is not there yet
    int listening;         // sshd_config.pid, from which we hear that it listens; -1
} self = { .sshd = -1, .listening = -1 };

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t now_ms(void) { return now_us() / 1000; }

static bool is_none(const char *place) { return strcmp(place, "-") == 0; }

// ---------------------------------------------------------------- the port

// Of several lines that wait for a host that does not read, the newest are kept; the first may be half written.
static void tell(const char *text)
{
    if (port.telling == TELL_MAX) {
        free(port.tell[1]);
        memmove(port.tell + 1, port.tell + 2, (TELL_MAX - 2) * sizeof *port.tell);
        port.telling--;
    }
    char *line = malloc(strlen(text) + 2);
    if (line == NULL)
        exit(1);
    sprintf(line, "%s\n", text);
    port.tell[port.telling++] = line;
}

static void tell_trouble(const char *step)
{
    char text[256];
    snprintf(text, sizeof text, "{\"kind\":\"trouble\",\"what\":\"%s: %s\"}", step, strerror(errno));
    tell(text);
}

static void look_again(void)
{
    port.again_at = now_ms() + port.pause;
    port.pause = port.pause * 2 < PAUSE_MS_MOST ? port.pause * 2 : PAUSE_MS_MOST;
}

// Without udev devices have no names in /dev, only in /sys.
static int open_device(const char *path)
{
    char file[300], name[PLACE_BYTES], device[PLACE_BYTES];
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    DIR *all = fd >= 0 ? NULL : opendir("/sys/class/virtio-ports");
    for (struct dirent *entry; all != NULL && fd < 0 && (entry = readdir(all)) != NULL;) {
        snprintf(file, sizeof file, "/sys/class/virtio-ports/%.100s/name", entry->d_name);
        FILE *text = fopen(file, "re");
        bool ours = text != NULL && fscanf(text, "%127s", name) == 1 && strcmp(name, strrchr(path, '/') + 1) == 0;
        if (text != NULL)
            fclose(text);
        snprintf(device, sizeof device, "/dev/%.100s", entry->d_name);
        if (ours)
            fd = open(device, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    }
    if (all != NULL)
        closedir(all);
    return fd;
}

static void open_port(void)
{
    int inherited;
    if (sscanf(port.path, "fd:%d", &inherited) == 1)
        nonblocking(port.fd = inherited);
    else
        port.fd = open_device(port.path);
    if (port.fd < 0)
        look_again();
}

static void write_port(void)
{
    while (port.fd >= 0 && port.telling > 0) {
        const char *line = port.tell[0];
        ssize_t put = write(port.fd, line + port.told, strlen(line) - port.told);
        if (put < 0)
            return; // it is full, nobody is connected, or it is gone: reading says which
        port.told += (size_t)put;
        if (line[port.told] != '\0')
            continue;
        free(port.tell[0]);
        memmove(port.tell, port.tell + 1, --port.telling * sizeof *port.tell);
        port.told = 0;
    }
}

// ---------------------------------------------------------------- what the bait says

// The text of a member, as JSON.stringify writes it; false where it is not, is no text, or is too long.
static bool text_of(const char *json, const char *name, char *to, size_t size)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *at = strstr(json, key);
    if (at == NULL)
        return false;
    for (at += strlen(key); *at != '"'; at++) {
        bool escaped = *at == '\\';
        at += escaped;
        char c = !escaped ? *at : *at == 'n' ? '\n' : *at == '"' || *at == '\\' || *at == '/' ? *at : '\0';
        if (c == '\0' || size-- <= 1)
            return false;
        *to++ = c;
    }
    *to = '\0';
    return true;
}

static bool number_of(const char *json, const char *name, long long *to)
{
    char key[64], *end;
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(json, key);
    if (at == NULL)
        return false;
    double value = strtod(at += strlen(key), &end);
    *to = (long long)value;
    return end > at;
}

static size_t from_base64(const char *text, unsigned char *to, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0, value = 0;
    size_t length = 0;
    for (const char *digit; *text != '\0' && (digit = strchr(digits, *text)) != NULL && length < size; text++) {
        value = value << 6 | (unsigned)(digit - digits);
        if ((bits += 6) >= 8)
            to[length++] = (unsigned char)(value >> (bits -= 8));
    }
    return length;
}

struct identity {
    char vwn[80], hostname[72], machine_id[40], host_key[16392], authorized_key[4104], entropy[800]; // one byte is a line feed's
    long long term, epoch, now_ms;
};

static bool parse_identity(const char *json, struct identity *to)
{
    long long version;
    return number_of(json, "v", &version) && version == 1 && text_of(json, "vwn", to->vwn, sizeof to->vwn) && number_of(json, "term", &to->term) &&
        number_of(json, "epoch", &to->epoch) && number_of(json, "nowMs", &to->now_ms) && text_of(json, "hostname", to->hostname, sizeof to->hostname) &&
        text_of(json, "machineId", to->machine_id, sizeof to->machine_id) && text_of(json, "hostKey", to->host_key, sizeof to->host_key) &&
        text_of(json, "authorizedKey", to->authorized_key, sizeof to->authorized_key) && text_of(json, "entropy", to->entropy, sizeof to->entropy) &&
        strspn(to->vwn, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(to->vwn);
}

// ---------------------------------------------------------------- becoming somebody

static struct { char paths[8][PLACE_BYTES + 32]; int count; } written;

// With mode 0 the file is the kernel's, which is there and stays as it is.
static bool put_file(const char *folder, const char *name, mode_t mode, const char *text)
{
    char *path = written.paths[written.count++];
    snprintf(path, sizeof written.paths[0], "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, mode);
    struct stat now;
    ssize_t length = (ssize_t)strlen(text);
    bool done = fd >= 0 && fstat(fd, &now) == 0 && (mode == 0 || (now.st_mode & 07777) == mode || fchmod(fd, mode) == 0) && write(fd, text, (size_t)length) == length;
    // Emptied first, as O_TRUNC does it, a file costs ten times as much: the file system gives all its room back and finds some anew.
    done = done && (mode == 0 || now.st_size <= length || ftruncate(fd, length) == 0);
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

// Each file is one line, or several, and so ends with one line feed.
static bool put_line(const char *folder, const char *name, mode_t mode, const char *text)
{
    static char line[16400];
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '\n')
        length--;
    snprintf(line, sizeof line, "%.*s\n", (int)length, text);
    return put_file(folder, name, mode, line);
}

// False while nobody reads: the ssh server still loads and links itself.
static bool reach_sshd(void)
{
    if (self.sshd < 0)
        self.sshd = open(in_folder(places.ssh, "host_key"), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    return self.sshd >= 0;
}

// The ssh server reads the key twice more, from the file that has taken the FIFO's place before that has ended.
static bool feed_sshd(void)
{
    if (!reach_sshd())
        return errno == ENXIO;
    char fresh[2 * WORD_BYTES];
    snprintf(fresh, sizeof fresh, "%s", in_folder(places.ssh, "host_key.new"));
    ssize_t length = (ssize_t)strlen(self.host_key);
    self.fed = write(self.sshd, self.host_key, (size_t)length) == length && rename(fresh, in_folder(places.ssh, "host_key")) == 0;
    close_fd(&self.sshd);
    return self.fed;
}

static void new_sshd(void)
{
    close_fd(&self.sshd);
    close_fd(&self.listening);
    self.fed = false;
    start_sshd(places.sshd, places.ssh, places.ssh_port);
}

// One that has an older key is replaced.
static bool open_ssh(const char *host_key)
{
    if (self.fed || sshd_pid <= 0)
        new_sshd();
    close_fd(&self.listening);
    self.listening = open(in_folder(places.ssh, "sshd_config.pid"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    snprintf(self.host_key, sizeof self.host_key, "%s\n", host_key);
    return self.listening >= 0 && feed_sshd();
}

static void be_ready(void)
{
    char text[256];
    self.ready = true;
    close_fd(&self.listening);
    snprintf(text, sizeof text, "{\"kind\":\"ready\",\"vwn\":\"%s\",\"token\":{\"term\":%lld,\"epoch\":%lld},\"tookMs\":%.3f}",
        self.vwn, self.term, self.epoch, (double)(now_us() - self.began_at) / 1000);
    tell(text);
}

static void be_nobody(const char *step)
{
    tell_trouble(step);
    close_fd(&self.listening);
    self.known = false; // said again, it is tried again
}

// Fresh randomness comes before any key is used, and the right time before anybody can ask for it.
static const char *become(const struct identity *who)
{
    unsigned char entropy[512];
    char hosts[256];
    bool kernel = !is_none(places.kernel);
    if (kernel && !mix_entropy(entropy, from_base64(who->entropy, entropy, sizeof entropy)))
        return "entropy";
    if (kernel && !set_card_address())
        return "card";
    if (kernel && !set_clock(self.offset_ms))
        return "clock";
    written.count = 0;
    mkdir(places.ssh, 0700);
    bool ssh = places.ssh_port > 0;
    if (!put_line(places.ssh, ssh ? "host_key.new" : "host_key", 0600, who->host_key) || !put_line(places.ssh, "authorized_keys", 0600, who->authorized_key))
        return "keys";
    snprintf(written.paths[0], sizeof written.paths[0], "%s/host_key", places.ssh);
    if (ssh && !open_ssh(who->host_key))
        return "ssh server";
    snprintf(hosts, sizeof hosts, "127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost ip6-localhost\n", who->hostname);
    if (!put_line(places.etc, "hostname", 0644, who->hostname) || !put_line(places.etc, "machine-id", 0444, who->machine_id) || !put_line(places.etc, "hosts", 0644, hosts))
        return "names";
    if (kernel && !put_file(places.kernel, "kernel/hostname", 0, who->hostname))
        return "hostname";
    return NULL;
}

// What the agent must know of it: how far apart the clocks are, and which files are its own.

static void tell_became(void)
{
    char line[sizeof written.paths + 64];
    int length = is_none(places.kernel) ? snprintf(line, sizeof line, "became -") : snprintf(line, sizeof line, "became %lld", self.offset_ms);
    for (int i = 0; i < written.count; i++)
        length += snprintf(line + length, sizeof line - (size_t)length, " %s", written.paths[i]);
    line[length] = '\n';
    untold = false;
    tell_agent(line, (size_t)length + 1);
}

// Said again, an identity is about the time alone, which may have been long on its way the first time.
static void be_right_in_time(void)
{
    if (!is_none(places.kernel) && !set_clock(self.offset_ms))
        return tell_trouble("clock");
    untold = !is_none(places.kernel);
    be_ready();
}

static void take_identity(const struct identity *who)
{
    port.hello_at = 0;
    self.forgetting = false;
    bool same = self.known && strcmp(self.vwn, who->vwn) == 0 && self.term == who->term && self.epoch == who->epoch;
    if (same && !self.ready)
        return;
    self.began_at = now_us();
    self.offset_ms = who->now_ms - self.began_at / 1000;
    if (same)
        return be_right_in_time();
    self.known = true;
    self.ready = false;
    self.term = who->term;
    self.epoch = who->epoch;
    strcpy(self.vwn, who->vwn);
    const char *failed = become(who);
    untold = failed == NULL;
    if (failed != NULL)
        be_nobody(failed);
    else if (self.listening < 0)
        be_ready();
}

// Sessions too: they have the keys in their memory.
static void end_sshds(void)
{
    char path[64], exe[PLACE_BYTES];
    DIR *all = opendir("/proc");
    for (struct dirent *entry; all != NULL && (entry = readdir(all)) != NULL;) {
        snprintf(path, sizeof path, "/proc/%.20s/exe", entry->d_name);
        ssize_t length = readlink(path, exe, sizeof exe - 1);
        exe[length < 0 ? 0 : length] = '\0';
        if (length > 0 && strcmp(exe, places.sshd) == 0)
            kill((pid_t)atoi(entry->d_name), SIGKILL);
    }
    if (all != NULL)
        closedir(all);
}

// What this guest was told was for a rehearsal: it is nobody again, and as before it had been told.
static void take_forget(void)
{
    self.known = self.ready = untold = false;
    for (int i = 0; i < written.count; i++)
        if (strncmp(written.paths[i], places.ssh, strlen(places.ssh)) == 0)
            unlink(written.paths[i]);
    self.forgetting = places.ssh_port > 0;
    if (self.forgetting) {
        end_sshds();
        sync(); // or each clone would begin with that
        new_sshd();
    } else
        tell(port.hello);
}

static void take_port_line(const char *line)
{
    static struct identity who;
    if (strcmp(line, "{\"kind\":\"forget\"}") == 0 && port.hello != NULL)
        return take_forget();
    if (parse_identity(line, &who) && strstr(line, "\"kind\":\"identity\"") != NULL)
        take_identity(&who);
    else
        say_agent("port %s\n", line);
}

static void take_port_bytes(const char *bytes, size_t length)
{
    for (const char *end; length > 0; length -= (size_t)(end - bytes), bytes = end) {
        const char *feed = memchr(bytes, '\n', length);
        end = feed == NULL ? bytes + length : feed + 1;
        size_t part = (size_t)(end - bytes) - (feed != NULL);
        port.too_long |= port.used + part >= sizeof port.line;
        if (!port.too_long)
            memcpy(port.line + port.used, bytes, part);
        port.used += port.too_long ? 0 : part;
        if (feed == NULL)
            continue;
        port.line[port.used] = '\0';
        if (!port.too_long && strlen(port.line) == port.used) // a zero byte is nobody's message
            take_port_line(port.line);
        port.used = 0;
        port.too_long = false;
    }
}

// While nobody is connected at the host's side a read says "end of file" at once.
static void read_port(void)
{
    static char bytes[16 << 10];
    ssize_t got = read(port.fd, bytes, sizeof bytes);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got < 0)
        close_fd(&port.fd);
    if (got <= 0)
        return look_again();
    port.pause = PAUSE_MS_FIRST;
    take_port_bytes(bytes, (size_t)got);
}

// ---------------------------------------------------------------- the agent's commands

static void serve_port(const char *line)
{
    errno = EINVAL;
    if (sscanf(line, "port %127s %127s %127s %127s %127s %d", port.path, places.etc, places.ssh, places.kernel, places.sshd, &places.ssh_port) != 6)
        return say_failed("port");
    port.pause = PAUSE_MS_FIRST;
    open_port();
    say_agent("done\n");
}

static bool obey_about_port(const char *line)
{
    if (strncmp(line, "tell ", 5) == 0)
        tell(line + 5);
    else if (strncmp(line, "hello ", 6) == 0) {
        port.hello = strdup(line + 6);
        port.hello_at = now_ms();
    } else
        return false;
    return true;
}

// ---------------------------------------------------------------- the loop's part

enum { PORT_POLLS = 2 };

static void poll_port(struct pollfd *fds)
{
    bool listens = port.fd >= 0 && port.again_at == 0;
    fds[0] = (struct pollfd){ .fd = listens ? port.fd : -1, .events = (short)(POLLIN | (port.telling > 0 ? POLLOUT : 0)) };
    fds[1] = (struct pollfd){ .fd = self.listening, .events = POLLIN };
}

// How long the loop may sleep; -1 for ever.
static int port_pause(void)
{
    int64_t now = now_ms(), until = INT64_MAX;
    if (port.again_at > 0)
        until = port.again_at;
    if (port.hello_at > 0 && port.hello_at < until)
        until = port.hello_at;
    if (self.forgetting && now + FEED_MS < until)
        until = now + FEED_MS;
    if (self.listening >= 0) {
        int64_t next = self.fed ? self.began_at / 1000 + SSH_MS : now + FEED_MS;
        until = next < until ? next : until;
    }
    return until == INT64_MAX ? -1 : until > now ? (int)(until - now) : 0;
}

static void move_port(const struct pollfd *fds)
{
    if (port.again_at > 0 && now_ms() >= port.again_at) {
        port.again_at = 0;
        if (port.fd < 0)
            open_port();
        else
            read_port();
    } else if (fds[0].fd >= 0 && fds[0].revents & ~POLLOUT)
        read_port();
    if (self.forgetting && reach_sshd()) {
        self.forgetting = false;
        tell(port.hello);
    }
    if (self.listening >= 0 && !self.fed && !feed_sshd())
        be_nobody("host key of the ssh server");
    if (fds[1].fd >= 0 && fds[1].fd == self.listening && fds[1].revents != 0)
        be_ready();
    if (self.listening >= 0 && now_ms() > self.began_at / 1000 + SSH_MS) {
        errno = ETIMEDOUT;
        be_nobody("ssh server");
    }
    if (port.hello_at > 0 && now_ms() >= port.hello_at) {
        tell(port.hello);
        port.hello_at = now_ms() + HELLO_MS;
    }
    if (port.again_at == 0)
        write_port();
}
