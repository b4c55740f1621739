/* A link between two network namespaces with delay, jitter, rate, queue and random loss, each way alike.
 *
 *   emulator NAMESPACE-A NAMESPACE-B DELAY-US JITTER-US RATE-BITS QUEUE-BYTES LOSS-PPM SEED
 *
 * Makes a TUN device named "link" in each namespace (the caller gives them addresses once this prints
 * "ready"), and forwards IP packets between the two until it is killed. A packet waits for its turn at RATE
 * (0: no limit) in a queue of QUEUE-BYTES (0: no limit) that drops what does not fit, and arrives DELAY
 * after its last bit has left, more or less by up to JITTER, so that packets overtake one another. LOSS falls
 * before the queue, on each packet by itself.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define MTU 9000
#define SLOTS (1 << 16)

struct packet {
    uint64_t arrives_ns;
    uint32_t size;
    unsigned char *bytes;
};

struct direction {
    int in, out;
    struct packet *ring; /* in the order of their arrival */
    uint32_t head, tail; /* the next to arrive, the next free */
    uint64_t busy_until_ns;
};

static uint64_t delay_ns, jitter_ns, rate, queue_bytes, random_state;
static uint32_t loss_ppm;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_tun(const char *name)
{
    char path[256];
    struct ifreq request;
    int ns, fd;

    snprintf(path, sizeof path, "/var/run/netns/%s", name);
    if ((ns = open(path, O_RDONLY)) < 0 || setns(ns, CLONE_NEWNET) < 0)
        die(path);
    close(ns);
    if ((fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK)) < 0)
        die("/dev/net/tun");
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "link");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &request) < 0)
        die("TUNSETIFF");
    return fd;
}

static void take(struct direction *d)
{
    static unsigned char buffer[MTU];
    for (int n = 0; n < 64; n++) {
        ssize_t size = read(d->in, buffer, sizeof buffer);
        if (size <= 0)
            return;
        if (loss_ppm && next_random() % 1000000u < loss_ppm)
            continue;
        uint64_t now = now_ns();
        uint64_t start = d->busy_until_ns > now ? d->busy_until_ns : now;
        uint64_t queued = rate ? (start - now) * rate / 8u / 1000000000u : 0;
        if ((queue_bytes && queued + (uint64_t)size > queue_bytes) || d->tail - d->head >= SLOTS)
            continue;
        d->busy_until_ns = start + (rate ? (uint64_t)size * 8u * 1000000000u / rate : 0);
        struct packet *p = &d->ring[d->tail % SLOTS];
        p->size = (uint32_t)size;
        p->arrives_ns = d->busy_until_ns + delay_ns;
        if (jitter_ns)
            p->arrives_ns += next_random() % (2 * jitter_ns) - jitter_ns;
        if (!p->bytes && !(p->bytes = malloc(MTU)))
            die("malloc");
        memcpy(p->bytes, buffer, (size_t)size);
        for (uint32_t at = d->tail++; at != d->head; at--) {
            struct packet *later = &d->ring[at % SLOTS], *sooner = &d->ring[(at - 1) % SLOTS];
            if (sooner->arrives_ns <= later->arrives_ns)
                break;
            struct packet swapped = *sooner;
            *sooner = *later;
            *later = swapped;
        }
    }
}

static uint64_t deliver(struct direction *d, uint64_t now)
{
    while (d->head != d->tail) {
        struct packet *p = &d->ring[d->head % SLOTS];
        if (p->arrives_ns > now)
            return p->arrives_ns;
        if (write(d->out, p->bytes, p->size) < 0 && errno == EAGAIN)
            return now + 100000;
        d->head++;
    }
    return UINT64_MAX;
}

int main(int argc, char **argv)
{
    if (argc != 9)
        return fprintf(stderr, "usage: emulator NS-A NS-B DELAY-US JITTER-US RATE-BITS QUEUE-BYTES LOSS-PPM SEED\n"), 2;
    int a = open_tun(argv[1]), b = open_tun(argv[2]);
    delay_ns = strtoull(argv[3], NULL, 10) * 1000u;
    jitter_ns = strtoull(argv[4], NULL, 10) * 1000u;
    rate = strtoull(argv[5], NULL, 10);
    queue_bytes = strtoull(argv[6], NULL, 10);
    loss_ppm = (uint32_t)strtoul(argv[7], NULL, 10);
    random_state = strtoull(argv[8], NULL, 10) * 0x9E3779B97F4A7C15u + 1;
    struct direction ways[2] = {{.in = a, .out = b}, {.in = b, .out = a}};
    for (int n = 0; n < 2; n++)
        if (!(ways[n].ring = calloc(SLOTS, sizeof(struct packet))))
            die("calloc");
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint64_t now = now_ns(), next = UINT64_MAX;
        for (int n = 0; n < 2; n++) {
            uint64_t due = deliver(&ways[n], now);
            next = due < next ? due : next;
        }
        struct pollfd fds[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
        struct timespec wait = {0, 0};
        now = now_ns();
        if (next != UINT64_MAX && next > now) {
            wait.tv_sec = (time_t)((next - now) / 1000000000u);
            wait.tv_nsec = (long)((next - now) % 1000000000u);
        }
        if (ppoll(fds, 2, next == UINT64_MAX ? NULL : &wait, NULL) > 0)
            for (int n = 0; n < 2; n++)
                if (fds[n].revents)
                    take(&ways[n]);
    }
}
