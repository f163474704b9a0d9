// Process 1 of a guest that says on its port what the agent says there, and does nothing else: for tests of everything around a guest.
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { GREET_MS = 200, LINE = 64 * 1024, DEVICES = 16 };

// The first number is that of the device among all virtio devices, the second that of the port in it; 0 is a console's.
static int open_port(void)
{
    char path[64];
    for (int device = 0;; device = (device + 1) % DEVICES) {
        snprintf(path, sizeof path, "/dev/vport%dp1", device);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0)
            return fd;
        usleep(1000);
    }
}

// Copies the value of a member, up to the end of its string or object, as it stands.
static void value_of(const char *line, const char *name, char end, char *value, size_t size)
{
    const char *at = strstr(line, name), *last = at == NULL ? NULL : strchr(at + strlen(name), end);
    snprintf(value, size, "%.*s", last == NULL ? 0 : (int)(last + 1 - at - strlen(name)), last == NULL ? "" : at + strlen(name));
}

static void answer(int port, const char *line)
{
    char vwn[128], token[128];
    if (strstr(line, "\"kind\":\"ping\"") != NULL) {
        value_of(line, "\"n\":", '}', vwn, sizeof vwn);
        dprintf(port, "{\"kind\":\"pong\",\"n\":%.*s,\"memoryBytes\":0,\"jobs\":0}\n", (int)strcspn(vwn, ",}"), vwn);
    }
    if (strstr(line, "\"kind\":\"identity\"") != NULL) {
        value_of(line, "\"vwn\":\"", '"', vwn, sizeof vwn);
        value_of(line, "\"token\":", '}', token, sizeof token);
        dprintf(port, "{\"kind\":\"ready\",\"vwn\":\"%s,\"token\":%s,\"tookMs\":0}\n", vwn, token);
    }
}

int main(void)
{
    static char line[LINE];
    size_t used = 0;
    int port = open_port(), greet = 1;
    struct pollfd heard = { .fd = port, .events = POLLIN };
    for (;;) {
        if (greet)
            dprintf(port, "{\"kind\":\"hello\",\"v\":1,\"agent\":\"small\",\"upMs\":0}\n");
        if (poll(&heard, 1, GREET_MS) <= 0)
            continue;
        ssize_t got = read(port, line + used, sizeof line - 1 - used);
        if (got <= 0)
            usleep(10 * 1000); // nobody is connected
        else
            used += (size_t)got;
        line[used] = '\0';
        for (char *end; (end = strchr(line, '\n')) != NULL; used = strlen(line)) {
            *end = '\0';
            greet = strcmp(line, "{\"kind\":\"forget\"}") == 0; // then it is nobody again
            answer(port, line);
            memmove(line, end + 1, strlen(end + 1) + 1);
        }
    }
}
