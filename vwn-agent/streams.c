// The guest's end of the job stream (wire/frames.ts), so that no byte of a job passes through the agent: an emulated guest gives node
// half of its time when node carries them. Part of wnod-guest; serve.c calls it.
//
//   sshd ═ connection ─┬─ CONTROL ─▶ the agent, as a line        what the agent says goes back as CONTROL
//                      ├─ DATA ────▶ a pipe of a process         acknowledged when the pipe has taken it
//                      └─ DATA ◀──── a pipe of a process         never more than a window that is not acknowledged
//
// News for the agent: "control C JSON", "lost C" (the other side has closed, or has sent garbage: the agent answers "forget C"),
// "done C STREAM" (an outgoing stream: everything was acknowledged, or nobody wants it; an incoming one: the pipe has taken its last byte).
#include <ctype.h>
#include <sys/un.h>

enum { CONTROL = 1, DATA, END, ACK, STOP };
enum { HEADER_BYTES = 14, STREAMS = 5, CONNECTIONS = 16, READ_BYTES = 128 << 10, WINDOW_BYTES = 1 << 20, PAYLOAD_BYTES_MAX = 12 << 20 };
// How much is consumed before it is acknowledged: a small packet through ssh costs an emulated guest as much as 30 KiB of data.
enum { ACKNOWLEDGE_BYTES = WINDOW_BYTES / 4 };

// One stream of a connection, in one direction or the other.
struct flow {
    enum { UNUSED, INCOMING, OUTGOING } kind;
    int fd;            // our end of the pipe; -1 when it is closed
    bool ended;        // no more bytes come: the END of an incoming one, the end of file of an outgoing one
    bool stopped;      // nobody wants the rest
    bool over;         // nothing is left to do
    uint64_t moved;    // bytes received, or sent
    uint64_t consumed; // incoming: bytes that the pipe has taken
    int64_t acked;     // incoming: what we have acknowledged; outgoing: what the other side has, -1 before it has opened the stream
    bool end_sent;
    uint8_t *held;     // incoming: bytes that the pipe had no room for
    size_t held_from, held_to;
};

struct connection {
    int id, fd; // id 0: a free row; fd -1: the other side is gone
    bool closing;
    uint8_t head[HEADER_BYTES];
    size_t head_bytes;
    uint8_t type, stream; // of the frame whose payload comes in
    uint64_t offset;
    size_t left;
    uint8_t *control;
    size_t control_bytes;
    uint64_t controls_seen, controls_sent;
    uint8_t *out; // what the connection has not taken yet
    size_t out_from, out_to, out_size;
    struct flow flows[STREAMS];
};

static struct connection connections[CONNECTIONS];
static int tasks_fd = -1; // where connections come in
static int last_connection;

static struct connection *connection_of(int id)
{
    for (int i = 0; i < CONNECTIONS; i++)
        if (id > 0 && connections[i].id == id)
            return &connections[i];
    return NULL;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void forget(struct connection *c)
{
    for (int s = 0; s < STREAMS; s++) {
        close_fd(&c->flows[s].fd);
        free(c->flows[s].held);
    }
    close_fd(&c->fd);
    free(c->control);
    free(c->out);
    memset(c, 0, sizeof *c);
}

// The other side is gone. What ran for it is the agent's to end, and its pipes stay open until the agent has.
static void lose(struct connection *c)
{
    if (c->fd < 0)
        return;
    close_fd(&c->fd);
    if (c->closing)
        forget(c);
    else
        say_agent("lost %d\n", c->id);
}

// ---------------------------------------------------------------- what goes out

static uint8_t *room_out(struct connection *c, size_t bytes)
{
    if (c->out_from == c->out_to)
        c->out_from = c->out_to = 0;
    if (c->out_size - c->out_to < bytes) {
        memmove(c->out, c->out + c->out_from, c->out_to - c->out_from);
        c->out_to -= c->out_from;
        c->out_from = 0;
    }
    if (c->out_size - c->out_to < bytes) {
        c->out_size = c->out_to + bytes + READ_BYTES;
        c->out = realloc(c->out, c->out_size);
        if (c->out == NULL)
            exit(1);
    }
    return c->out + c->out_to;
}

static void put_header(uint8_t *at, int type, int stream, uint64_t offset, size_t length)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(length >> (24 - 8 * i));
    at[4] = (uint8_t)type;
    at[5] = (uint8_t)stream;
    for (int i = 0; i < 8; i++)
        at[6 + i] = (uint8_t)(offset >> (56 - 8 * i));
}

static void send_frame(struct connection *c, int type, int stream, uint64_t offset, const void *payload, size_t length)
{
    if (c->fd < 0)
        return;
    uint8_t *at = room_out(c, HEADER_BYTES + length);
    put_header(at, type, stream, offset, length);
    if (length > 0)
        memcpy(at + HEADER_BYTES, payload, length);
    c->out_to += HEADER_BYTES + length;
}

static void flush_out(struct connection *c)
{
    while (c->fd >= 0 && c->out_from < c->out_to) {
        ssize_t put = send(c->fd, c->out + c->out_from, c->out_to - c->out_from, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put > 0)
            c->out_from += (size_t)put;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR)
            return lose(c);
    }
    if (c->closing && c->fd >= 0)
        shutdown(c->fd, SHUT_WR);
}

// ---------------------------------------------------------------- outgoing streams

static bool is_open(const struct flow *f) { return f->kind == OUTGOING && f->acked >= 0 && !f->over; }

static size_t window_left(const struct flow *f)
{
    return is_open(f) && !f->ended ? (size_t)((uint64_t)f->acked + WINDOW_BYTES - f->moved) : 0;
}

// Ends the stream when its last byte is sent, and is done with it when that is acknowledged.
static void advance(struct connection *c, int stream)
{
    struct flow *f = &c->flows[stream];
    if (!is_open(f))
        return;
    if (f->ended && !f->end_sent) {
        send_frame(c, END, stream, f->moved, NULL, 0);
        f->end_sent = true;
    }
    if (f->stopped || (f->end_sent && (uint64_t)f->acked == f->moved)) {
        f->over = true;
        say_agent("done %d %d\n", c->id, stream);
    }
}

static void end_outgoing(struct connection *c, int stream)
{
    close_fd(&c->flows[stream].fd);
    c->flows[stream].ended = true;
    advance(c, stream);
}

// The reader at the other end has closed: so do we, and the writer gets SIGPIPE.
static void stop_outgoing(struct connection *c, int stream)
{
    struct flow *f = &c->flows[stream];
    f->stopped = true;
    if (f->acked < 0)
        f->acked = 0;
    if (f->kind == OUTGOING)
        end_outgoing(c, stream);
}

static void read_pipe(struct connection *c, int stream)
{
    struct flow *f = &c->flows[stream];
    size_t most = window_left(f) < READ_BYTES ? window_left(f) : READ_BYTES;
    uint8_t *at = room_out(c, HEADER_BYTES + most);
    ssize_t got = read(f->fd, at + HEADER_BYTES, most);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0)
        return end_outgoing(c, stream);
    put_header(at, DATA, stream, f->moved, (size_t)got);
    c->out_to += HEADER_BYTES + (size_t)got;
    f->moved += (uint64_t)got;
}

// ---------------------------------------------------------------- incoming streams

static void acknowledge(struct connection *c, int stream)
{
    struct flow *f = &c->flows[stream];
    if ((int64_t)f->consumed <= f->acked)
        return;
    f->acked = (int64_t)f->consumed;
    send_frame(c, ACK, stream, f->consumed, NULL, 0);
}

static void settle_incoming(struct connection *c, int stream)
{
    struct flow *f = &c->flows[stream];
    bool whole = f->ended && f->held_from == f->held_to;
    if (!f->stopped && (whole || (int64_t)f->consumed - f->acked >= ACKNOWLEDGE_BYTES))
        acknowledge(c, stream);
    if (!whole || f->over)
        return;
    f->over = true;
    close_fd(&f->fd);
    say_agent("done %d %d\n", c->id, stream);
}

// Nobody reads any more: tells the sender, and drops what still comes.
static void stop_incoming(struct connection *c, int stream)
{
    struct flow *f = &c->flows[stream];
    if (!f->ended && !f->stopped)
        send_frame(c, STOP, stream, f->moved, NULL, 0);
    f->stopped = true;
    f->held_from = f->held_to = 0;
    close_fd(&f->fd);
    settle_incoming(c, stream);
}

// How much of it the pipe takes now.
static size_t write_pipe(struct connection *c, int stream, const uint8_t *bytes, size_t length)
{
    struct flow *f = &c->flows[stream];
    ssize_t put = write(f->fd, bytes, length);
    if (put < 0 && errno != EAGAIN && errno != EINTR)
        stop_incoming(c, stream);
    if (put < 0)
        return 0;
    f->consumed += (uint64_t)put;
    return (size_t)put;
}

static void hold(struct flow *f, const uint8_t *bytes, size_t length)
{
    if (f->held == NULL && (f->held = malloc(WINDOW_BYTES)) == NULL)
        exit(1);
    if (WINDOW_BYTES - f->held_to < length) { // a window is never overrun, so that it fits
        memmove(f->held, f->held + f->held_from, f->held_to - f->held_from);
        f->held_to -= f->held_from;
        f->held_from = 0;
    }
    memcpy(f->held + f->held_to, bytes, length);
    f->held_to += length;
}

static void write_held(struct connection *c, int stream)
{
    struct flow *f = &c->flows[stream];
    size_t put = write_pipe(c, stream, f->held + f->held_from, f->held_to - f->held_from);
    if (f->stopped)
        return;
    f->held_from += put;
    if (f->held_from == f->held_to)
        f->held_from = f->held_to = 0;
    settle_incoming(c, stream);
}

// ---------------------------------------------------------------- what comes in

// Each of these answers false to garbage.

static bool take_data(struct connection *c, const uint8_t *bytes, size_t length)
{
    struct flow *f = &c->flows[c->stream];
    if (f->kind != INCOMING || f->ended || c->offset != f->moved)
        return false;
    f->moved += length;
    c->offset += length;
    if (f->stopped)
        return true;
    if (f->moved - f->consumed > WINDOW_BYTES)
        return false;
    size_t put = f->held_from == f->held_to ? write_pipe(c, c->stream, bytes, length) : 0;
    if (put < length && !f->stopped)
        hold(f, bytes + put, length - put);
    settle_incoming(c, c->stream);
    return true;
}

static bool take_end(struct connection *c)
{
    struct flow *f = &c->flows[c->stream];
    if (f->kind != INCOMING || f->ended || c->offset != f->moved)
        return false;
    f->ended = true;
    settle_incoming(c, c->stream);
    return true;
}

static bool take_acknowledgement(struct connection *c)
{
    struct flow *f = &c->flows[c->stream];
    if (f->kind == INCOMING || (!f->stopped && c->offset > f->moved))
        return false;
    if (f->stopped || (int64_t)c->offset <= f->acked)
        return true;
    f->acked = (int64_t)c->offset;
    advance(c, c->stream);
    return true;
}

static bool take_control(struct connection *c)
{
    if (c->offset != c->controls_seen || memchr(c->control, '\n', c->control_bytes) != NULL)
        return false;
    c->controls_seen += 1;
    if (c->closing)
        return true;
    say_agent("control %d ", c->id);
    tell_agent(c->control, c->control_bytes);
    tell_agent("\n", 1);
    return true;
}

static bool end_frame(struct connection *c)
{
    if (c->type == CONTROL)
        return take_control(c);
    if (c->stream >= STREAMS)
        return false;
    if (c->type == END)
        return take_end(c);
    if (c->type == ACK)
        return take_acknowledgement(c);
    if (c->type == STOP && c->flows[c->stream].kind != INCOMING)
        stop_outgoing(c, c->stream);
    return c->type != STOP || c->flows[c->stream].kind != INCOMING;
}

static bool begin_frame(struct connection *c)
{
    const uint8_t *at = c->head;
    size_t length = 0;
    c->offset = 0;
    for (int i = 0; i < 4; i++)
        length = length << 8 | at[i];
    for (int i = 0; i < 8; i++)
        c->offset = c->offset << 8 | at[6 + i];
    c->type = at[4];
    c->stream = at[5];
    c->left = length;
    if (c->type < CONTROL || c->type > STOP || length > PAYLOAD_BYTES_MAX || c->offset >> 53 != 0)
        return false;
    if (c->type == CONTROL) {
        c->control_bytes = 0;
        c->control = realloc(c->control, length + 1);
        return c->control != NULL && length > 0;
    }
    return c->type == DATA ? c->stream < STREAMS : length == 0;
}

static bool take_bytes(struct connection *c, const uint8_t *at, const uint8_t *end)
{
    while (at < end) {
        size_t here = (size_t)(end - at);
        if (c->head_bytes < HEADER_BYTES) {
            size_t part = here < HEADER_BYTES - c->head_bytes ? here : HEADER_BYTES - c->head_bytes;
            memcpy(c->head + c->head_bytes, at, part);
            c->head_bytes += part;
            at += part;
            if (c->head_bytes == HEADER_BYTES && !begin_frame(c))
                return false;
        } else {
            size_t part = here < c->left ? here : c->left;
            if (c->type == DATA && !take_data(c, at, part))
                return false;
            if (c->type == CONTROL) {
                memcpy(c->control + c->control_bytes, at, part);
                c->control_bytes += part;
            }
            c->left -= part;
            at += part;
        }
        if (c->head_bytes < HEADER_BYTES || c->left > 0)
            continue;
        c->head_bytes = 0;
        if (c->type != DATA && !end_frame(c))
            return false;
    }
    return true;
}

static void read_connection(struct connection *c)
{
    static uint8_t bytes[READ_BYTES];
    ssize_t got = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || !take_bytes(c, bytes, bytes + got))
        lose(c);
}

// ---------------------------------------------------------------- the agent's commands

static void serve_tasks(const char *line)
{
    struct sockaddr_un here = { .sun_family = AF_UNIX };
    if (sscanf(line, "tasks %107s", here.sun_path) != 1)
        return say_failed("tasks");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    mode_t before = umask(0177);
    bool listens = fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) == 0 && listen(fd, 64) == 0;
    umask(before);
    if (!listens) {
        say_failed("tasks");
        close(fd);
        return;
    }
    tasks_fd = fd;
    say_agent("done\n");
}

static void accept_task(void)
{
    int fd = accept4(tasks_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    for (int i = 0; fd >= 0 && i < CONNECTIONS; i++)
        if (connections[i].id == 0) {
            connections[i].id = ++last_connection;
            connections[i].fd = fd;
            for (int s = 0; s < STREAMS; s++) {
                connections[i].flows[s].fd = -1;
                connections[i].flows[s].acked = -1;
            }
            return;
        }
    close_fd(&fd);
}

// From now on a stream's bytes go between the connection and this end of a pipe. Without one an outgoing stream ends at once.
static void attach(struct connection *c, int stream, bool incoming, int fd)
{
    struct flow *f = &c->flows[stream];
    f->kind = incoming ? INCOMING : OUTGOING;
    f->fd = fd;
    if (fd >= 0)
        nonblocking(fd);
    if (incoming) {
        f->acked = -1;
        f->stopped = false;
        acknowledge(c, stream); // opens it
    } else if (f->stopped || fd < 0)
        end_outgoing(c, stream);
}

// Commands about a connection: no answer, and none is missed when the connection is gone already.
static bool obey_about_connection(const char *line)
{
    char verb[8] = "";
    int id = 0, stream = 0, used = 0;
    if (sscanf(line, "%7s %d%n %d", verb, &id, &used, &stream) < 2)
        return false;
    static const char *const verbs[] = { "say", "close", "forget", "stop", "cut", "end" };
    size_t v = 0;
    while (v < 6 && strcmp(verbs[v], verb) != 0)
        v++;
    struct connection *c = connection_of(id);
    if (v == 6 || c == NULL || stream < 0 || stream >= STREAMS)
        return v < 6;
    struct flow *f = &c->flows[stream];
    if (v == 0 && line[used] == ' ')
        send_frame(c, CONTROL, 0, c->controls_sent++, line + used + 1, strlen(line + used + 1));
    else if (v == 1 && c->fd >= 0)
        c->closing = true;
    else if (v == 1 || v == 2)
        forget(c);
    else if (v == 3 && f->kind == INCOMING && !f->stopped)
        stop_incoming(c, stream);
    else if (v == 4 && f->kind == OUTGOING && !f->ended)
        end_outgoing(c, stream);
    else if (v == 5 && f->kind == UNUSED)
        attach(c, stream, false, -1);
    return true;
}

// ---------------------------------------------------------------- the loop's part

enum { CONNECTION_POLLS = CONNECTIONS * (1 + STREAMS) };

// What each connection waits for; one row for it and one for each of its pipes.
static void poll_connections(struct pollfd *fds)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *c = &connections[i];
        bool there = c->id > 0 && c->fd >= 0;
        size_t waiting = c->out_to - c->out_from;
        *fds++ = (struct pollfd){ .fd = there ? c->fd : -1, .events = (short)(POLLIN | (waiting > 0 ? POLLOUT : 0)) };
        for (int s = 0; s < STREAMS; s++) {
            struct flow *f = &c->flows[s];
            bool reads = f->kind == OUTGOING && window_left(f) > 0 && waiting < READ_BYTES;
            bool writes = f->kind == INCOMING && !f->over; // an error tells that the reader has closed, whatever we wait for
            short events = reads ? POLLIN : f->held_from < f->held_to ? POLLOUT : 0;
            *fds++ = (struct pollfd){ .fd = there && (reads || writes) ? f->fd : -1, .events = events };
        }
    }
}

static void move_bytes(const struct pollfd *fds)
{
    for (int i = 0; i < CONNECTIONS; i++, fds += 1 + STREAMS) {
        struct connection *c = &connections[i];
        if (c->id == 0)
            continue;
        if (fds[0].fd >= 0 && fds[0].revents & ~POLLOUT)
            read_connection(c);
        for (int s = 0; s < STREAMS && c->fd >= 0; s++) {
            struct flow *f = &c->flows[s];
            if (fds[1 + s].fd < 0 || fds[1 + s].revents == 0 || f->fd != fds[1 + s].fd)
                continue;
            if (f->kind == OUTGOING)
                read_pipe(c, s);
            else if (fds[1 + s].revents & POLLERR)
                stop_incoming(c, s);
            else
                write_held(c, s);
        }
    }
}

// After everything that a turn has brought: it leaves together.
static void flush_connections(void)
{
    for (int i = 0; i < CONNECTIONS; i++)
        if (connections[i].id > 0)
            flush_out(&connections[i]);
}
