/* The load of `python -m bench.edge`: replays requests that were encoded beforehand, so that it is never what is measured.

   edge_load MODE [NAME VALUE]...
     closed   `connections` keep one request each under way for `duration` seconds, or until `ends-after` were answered
     open     requests come at `rate` a second at random times, whatever the server does; latency counts from when a
              request should have been sent (no coordinated omission)
     visits   connections that play one script each: first all handshakes, then all requests, then all ends; between them it
              writes a line and waits for one, so that who started it can read the server's clock
     hold     `connections` that play one script each as soon as they are open, and stay; writes a line then, and waits
   It ends with one line of JSON. A script is a list of requests: u32 bytes, u32 place of a counter of 12 digits that makes
   the request unlike all others (or 0xffffffff), the bytes; scripts end with a request of 0 bytes. Little endian. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD_MAX = 16384, OUT_MAX = 262144, READ_MAX = 262144, BATCH = 256 };
#define NO_COUNTER 0xffffffffu

struct request { const unsigned char *bytes; uint32_t size, counter; };
struct script { int first, count; };
struct connection {
  int fd, script, sent, done, is_open, wants_write, is_connecting, owes_ack;
  SSL *ssl;
  unsigned char head[HEAD_MAX];
  uint32_t head_size;
  long long left;            /* of the content or frame that is being skipped */
  int left_ends;             /* the frame being skipped ends a stream */
  unsigned char *out;
  uint32_t out_size, out_sent;
  long long unacknowledged;  /* octets of DATA since our last WINDOW_UPDATE */
  double due;                /* open: when the request under way should have been sent */
};

static struct request *requests;
static struct script *scripts;
static int request_count, script_count, window = 1, status_wanted = 200, first_alone, content_wanted = -1;
static long long done_total, bad_total, bytes_total, cursor, counter = 1, ends_after;
static int connections_wanted = 64, handshakes_at_once = 16, active_at_once = 64, port_number, epoll_fd, is_tls, is_h2;
static const char *server_name, *ciphers = "TLS_AES_128_GCM_SHA256", *bad_reason = "";
static SSL_CTX *ssl_context;
static char bad_text[512];
static unsigned char *read_buffer;

static double now_s(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static void fail(const char *why) { fprintf(stderr, "edge_load: %s (%s)\n", why, strerror(errno)); exit(1); }
static void bad_with(struct connection *c, const char *why, const unsigned char *what, int size) {
  bad_total++;
  if (*bad_reason) return;
  int length = snprintf(bad_text, sizeof bad_text, "%s: %.60s", why, !is_h2 && c->head_size ? (char *)c->head : "");
  for (char *p = bad_text; *p; p++) if (*p < 32 || *p == '"' || *p == '\\' || *p > 126) *p = ' ';
  if (is_h2) { /* the frame's head, and what came of it */
    for (int i = 0; i < 9 && c->head_size >= 9; i++) length += sprintf(bad_text + length, "%02x", c->head[i]);
    for (int i = 0; i < 64 && i < size; i++) length += sprintf(bad_text + length, "%s%02x", i ? "" : " ", what[i]);
  }
  bad_reason = bad_text;
}
static void bad(struct connection *c, const char *why) { bad_with(c, why, NULL, 0); }

static void load_requests(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) fail(path);
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  rewind(f);
  unsigned char *all = malloc(size + 1), *p = all;
  if (fread(all, 1, size, f) != (size_t)size) fail("a short read");
  fclose(f);
  int room = 1024, script_room = 64;
  requests = malloc(room * sizeof *requests);
  scripts = malloc(script_room * sizeof *scripts);
  scripts[0].first = 0;
  while (p < all + size) {
    uint32_t length, place;
    memcpy(&length, p, 4);
    memcpy(&place, p + 4, 4);
    p += 8;
    if (!length) {
      scripts[script_count].count = request_count - scripts[script_count].first;
      if (++script_count + 1 >= script_room) scripts = realloc(scripts, (script_room *= 2) * sizeof *scripts);
      scripts[script_count].first = request_count;
      continue;
    }
    if (request_count == room) requests = realloc(requests, (room *= 2) * sizeof *requests);
    requests[request_count++] = (struct request){p, length, place};
    p += length;
  }
}

static void watch(struct connection *c, int events, int how) {
  struct epoll_event e = {.events = events, .data.ptr = c};
  if (epoll_ctl(epoll_fd, how, c->fd, &e) < 0) fail("epoll_ctl");
}

static void end(struct connection *c) {
  if (c->ssl) { SSL_free(c->ssl); c->ssl = NULL; }
  if (c->fd >= 0) close(c->fd);
  c->fd = -1;
  c->is_open = 0;
}

static void begin(struct connection *c) {
  int one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port_number), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (c->fd < 0) fail("socket");
  if (connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  c->sent = c->done = 0;
  c->head_size = c->out_size = c->out_sent = 0;
  c->left = c->unacknowledged = 0;
  c->wants_write = c->owes_ack = 0;
  c->is_open = !is_tls;
  c->is_connecting = is_tls;
  if (is_tls) {
    c->ssl = SSL_new(ssl_context);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, server_name);
    SSL_set_connect_state(c->ssl);
  }
  watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

/* 1: open, 0: under way, -1: failed */
static int shake(struct connection *c) {
  int result = SSL_connect(c->ssl);
  if (result == 1) {
    const unsigned char *name;
    unsigned size;
    SSL_get0_alpn_selected(c->ssl, &name, &size);
    if (is_h2 != (size == 2 && !memcmp(name, "h2", 2))) { bad(c, "another protocol was chosen"); return -1; }
    if (SSL_session_reused(c->ssl)) { bad(c, "a handshake was resumed"); return -1; }
    c->is_connecting = 0;
    c->is_open = 1;
    return 1;
  }
  int why = SSL_get_error(c->ssl, result);
  if (why == SSL_ERROR_WANT_READ) return 0;
  if (why == SSL_ERROR_WANT_WRITE) { watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD); return 0; }
  bad(c, "a handshake failed");
  return -1;
}

static void shake_alone(struct connection *c) {
  struct epoll_event one;
  while (c->is_connecting && shake(c) >= 0 && c->is_connecting)
    if (epoll_wait(epoll_fd, &one, 1, 5000) <= 0) break;
  if (c->is_connecting) fail(*bad_reason ? bad_reason : "no handshake");
}

static void flush_out(struct connection *c) {
  while (c->out_sent < c->out_size) {
    int n = c->ssl ? SSL_write(c->ssl, c->out + c->out_sent, c->out_size - c->out_sent)
                   : (int)send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_NOSIGNAL);
    if (n <= 0) {
      int again = c->ssl ? SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_WRITE : errno == EAGAIN;
      if (!again) { c->out_sent = c->out_size; break; }
      if (!c->wants_write) { c->wants_write = 1; watch(c, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD); }
      return;
    }
    c->out_sent += n;
  }
  c->out_size = c->out_sent = 0;
  if (c->wants_write) { c->wants_write = 0; watch(c, EPOLLIN, EPOLL_CTL_MOD); }
}

static void add_out(struct connection *c, const void *bytes, uint32_t size) {
  if (c->out_size + size > OUT_MAX) fail("requests are longer than the buffer");
  memcpy(c->out + c->out_size, bytes, size);
  c->out_size += size;
}

/* Settings may come before our preface has gone. */
static void acknowledge(struct connection *c) {
  c->owes_ack = 0;
  add_out(c, "\0\0\0\4\1\0\0\0\0", 9);
}

static void add_request(struct connection *c, const struct request *r) {
  uint32_t at = c->out_size;
  add_out(c, r->bytes, r->size);
  if (r->counter != NO_COUNTER) {
    long long value = counter++;
    for (int place = 11; place >= 0; place--, value /= 10) c->out[at + r->counter + place] = '0' + value % 10;
  }
  c->sent++;
}

/* Sends what may be under way now; 0 when a script is over. */
static int play(struct connection *c) {
  if (c->script >= 0) {
    struct script *s = &scripts[c->script];
    if (c->done >= s->count) return 0;
    while (c->sent < s->count && c->sent - c->done < window && !(first_alone && c->sent && !c->done))
      add_request(c, &requests[s->first + c->sent]);
  } else
    while (c->sent - c->done < window && (!ends_after || cursor < ends_after)) add_request(c, &requests[cursor++ % request_count]);
  if (c->owes_ack && c->sent) acknowledge(c);
  if (c->out_size) flush_out(c);
  return 1;
}

static int answered(struct connection *c);

/* The content that a head announces, or -1. */
static long long content_length(const char *head) {
  for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r'; line = strstr(line + 2, "\r\n"))
    if (!strncasecmp(line + 2, "content-length:", 15)) return atoll(line + 17);
  return -1;
}

static int take_h1(struct connection *c, const unsigned char *p, int size) {
  while (size > 0) {
    if (c->left) {
      int step = c->left < size ? (int)c->left : size;
      c->left -= step;
      p += step;
      size -= step;
      bytes_total += step;
      if (!c->left && !answered(c)) return 0;
      continue;
    }
    int room = HEAD_MAX - 1 - c->head_size, step = size < room ? size : room;
    uint32_t before = c->head_size;
    memcpy(c->head + before, p, step);
    c->head[before + step] = 0;
    char *end_of_head = strstr((char *)c->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
    if (!end_of_head) {
      c->head_size += step;
      if (step < size) { bad(c, "a head is too long"); return 0; }
      return 1;
    }
    uint32_t length = end_of_head + 4 - (char *)c->head;
    p += length - before;
    size -= length - before;
    end_of_head[2] = 0;
    c->head_size = length;
    int status = atoi((char *)c->head + 9);
    long long content = content_length((char *)c->head);
    if (status != status_wanted) { bad(c, "another status"); return 0; }
    if (status == 304) content = 0;
    if (content < 0) { bad(c, "no Content-Length"); return 0; }
    if (content_wanted >= 0 && content != content_wanted) { bad(c, "other content"); return 0; }
    bytes_total += length;
    c->head_size = 0;
    c->left = content;
    if (!content && !answered(c)) return 0;
  }
  return 1;
}

static int frame_begun(struct connection *c) {
  unsigned char *h = c->head;
  uint32_t length = h[0] << 16 | h[1] << 8 | h[2];
  int type = h[3], flags = h[4];
  c->left_ends = (type == 0 || type == 1) && flags & 1;
  c->left = length;
  if (type == 0) {
    c->unacknowledged += length;
    if (c->unacknowledged > 4 << 20) {
      unsigned char update[13] = {0, 0, 4, 8, 0, 0, 0, 0, 0};
      uint32_t step = htonl((uint32_t)c->unacknowledged);
      memcpy(update + 9, &step, 4);
      add_out(c, update, 13);
      c->unacknowledged = 0;
    }
  }
  if (type == 3) { bad(c, "RST_STREAM"); return 0; }
  if (type == 7) { bad(c, "GOAWAY"); return 0; }
  if (type == 4 && !(flags & 1)) c->owes_ack = 1;
  if (c->owes_ack && c->sent) acknowledge(c);
  return 1;
}

static int take_h2(struct connection *c, const unsigned char *p, int size) {
  while (size > 0) {
    if (c->left) {
      if (c->head[3] == 1 && c->head_size == 9) { /* the first octet of a block after size updates: `:status 200` is 0x88 */
        int place = 0;
        while (place < size && (p[place] & 0xe0) == 0x20) { int more = (p[place++] & 31) == 31; while (more && place < size) more = p[place++] & 128; }
        if (place < size && status_wanted == 200 && p[place] != 0x88) { bad_with(c, "another status", p, size); return 0; }
        c->head_size = 10;
      }
      int step = c->left < size ? (int)c->left : size;
      c->left -= step;
      p += step;
      size -= step;
      bytes_total += step;
      if (c->left) continue;
      c->head_size = 0;
      if (c->left_ends && !answered(c)) return 0;
      continue;
    }
    while (c->head_size < 9 && size > 0) { c->head[c->head_size++] = *p++; size--; }
    if (c->head_size < 9) return 1;
    if (!frame_begun(c)) return 0;
    if (!c->left) {
      c->head_size = 0;
      if (c->left_ends && !answered(c)) return 0;
    }
  }
  if (c->out_size && !c->wants_write) flush_out(c);
  return 1;
}

/* Latencies of the open loop. */
static float *latencies;
static long latency_count, latency_room;
static struct connection **idle;
static int idle_count, is_open_loop;

static int answered(struct connection *c) {
  c->done++;
  done_total++;
  if (is_open_loop) {
    if (latency_count < latency_room) latencies[latency_count++] = (float)(now_s() - c->due);
    idle[idle_count++] = c;
  }
  return 1;
}

static int take(struct connection *c, const unsigned char *p, int size) { return is_h2 ? take_h2(c, p, size) : take_h1(c, p, size); }

/* What came on a connection; 0 when it is over. */
static int readable(struct connection *c) {
  for (;;) {
    int n;
    if (c->ssl) {
      n = SSL_read(c->ssl, read_buffer, READ_MAX);
      if (n <= 0) {
        if (SSL_get_error(c->ssl, n) == SSL_ERROR_WANT_READ) break;
        bad(c, "the server closed the connection");
        return 0;
      }
    } else {
      n = recv(c->fd, read_buffer, READ_MAX, 0);
      if (n < 0 && errno == EAGAIN) break;
      if (n <= 0) { bad(c, "the server closed the connection"); return 0; }
    }
    if (!take(c, read_buffer, n)) return 0;
    if (!c->ssl && n < READ_MAX) break;
  }
  return 1;
}

static int by_size(const void *a, const void *b) { float x = *(const float *)a, y = *(const float *)b; return (x > y) - (x < y); }
static double at(double share) { return latency_count ? latencies[(long)(share * (latency_count - 1))] * 1e3 : 0; }

static void closed_or_open(double duration, double rate, unsigned seed) {
  struct connection *all = calloc(connections_wanted, sizeof *all);
  struct epoll_event events[BATCH];
  idle = calloc(connections_wanted, sizeof *idle);
  latency_room = (long)(rate * duration * 1.5) + 1000;
  latencies = malloc(latency_room * sizeof *latencies);
  int is_open_mode = rate > 0;
  for (int i = 0; i < connections_wanted; i++) {
    all[i].out = malloc(OUT_MAX);
    all[i].script = -1;
    begin(&all[i]);
    shake_alone(&all[i]); /* one after another: the load begins when all are open */
    if (is_open_mode) idle[idle_count++] = &all[i];
  }
  is_open_loop = is_open_mode;
  srand48(seed);
  double start = now_s(), until = start + duration, next = start;
  long long due_total = 0, sent_total = 0, room = latency_room;
  double *due = is_open_mode ? malloc(room * sizeof *due) : NULL;
  if (is_open_mode) {
    for (; next < until && due_total < room; due_total++) { next += -log(1 - drand48()) / rate; due[due_total] = next; }
    while (due_total && due[due_total - 1] >= until) due_total--;
  } else
    for (int i = 0; i < connections_wanted; i++) play(&all[i]);
  double now = start;
  while (is_open_mode ? done_total < due_total && now < until + 5 && !bad_total : now < until && !(ends_after && done_total >= ends_after)) {
    if (is_open_mode)
      while (sent_total < due_total && idle_count && due[sent_total] <= now) {
        struct connection *c = idle[--idle_count];
        c->due = due[sent_total++];
        add_request(c, &requests[cursor++ % request_count]);
        flush_out(c);
      }
    int n = epoll_wait(epoll_fd, events, BATCH, is_open_mode ? 0 : 100);
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      if (events[i].events & EPOLLOUT) flush_out(c);
      if (events[i].events & ~EPOLLOUT && !readable(c)) {
        now = until + 10; /* one wrong answer, and the run says nothing */
        break;
      }
      if (!is_open_mode) play(c);
    }
    now = now < until + 9 ? now_s() : now;
  }
  double elapsed = now_s() - start;
  if (is_open_mode) qsort(latencies, latency_count, sizeof *latencies, by_size);
  printf("{\"requests\": %lld, \"bad\": %lld, \"bad_reason\": \"%s\", \"bytes\": %lld, \"elapsed_s\": %.6f, \"due\": %lld, "
         "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n",
         done_total, bad_total, bad_reason, bytes_total, elapsed, due_total, at(.5), at(.99), at(.999), at(1));
}

static void say_and_wait(const char *word) {
  char line[64];
  printf("%s\n", word);
  fflush(stdout);
  if (!fgets(line, sizeof line, stdin)) exit(1);
}

enum step { SHAKE, ASK, SHAKE_AND_ASK };

/* All connections of a round: `at_once` of them shake hands (or play) at one time. */
static void round_of(struct connection *all, int count, int at_once, enum step step) {
  struct epoll_event events[BATCH];
  int begun = 0, over = 0, next = 0;
  while (over < count) {
    while (next < count && begun - over < at_once) {
      struct connection *c = &all[next++];
      begun++;
      if (step != ASK) {
        begin(c);
        int result = is_tls ? shake(c) : 1; /* a server on another core may have answered already */
        if (result < 0 || (result > 0 && (step == SHAKE || !play(c)))) over++;
      } else if (c->fd < 0 || !c->is_open || !play(c)) over++;
    }
    if (over >= count) break;
    int n = epoll_wait(epoll_fd, events, BATCH, 10000);
    if (n == 0) { bad_total++; bad_reason = "nothing came for 10 s"; return; }
    for (int i = 0; i < n; i++) {
      struct connection *c = events[i].data.ptr;
      if (c->fd < 0) continue;
      if (c->is_connecting) {
        int result = shake(c);
        if (result > 0) watch(c, EPOLLIN, EPOLL_CTL_MOD);
        if (result < 0) end(c);
        if (result < 0 || (result > 0 && (step == SHAKE || !play(c)))) over++;
        continue;
      }
      if (events[i].events & EPOLLOUT) flush_out(c);
      int was_over = step == SHAKE || c->sent == 0 || c->done >= scripts[c->script].count;
      if (!readable(c)) { end(c); if (!was_over) over++; continue; }
      if (!was_over && !play(c)) over++;
    }
  }
}

static void visits(void) {
  int count = connections_wanted;
  struct connection *all = calloc(count, sizeof *all);
  for (int i = 0; i < count; i++) { all[i].fd = -1; all[i].script = i % script_count; all[i].out = malloc(OUT_MAX); }
  say_and_wait("ready");
  double start = now_s();
  round_of(all, count, handshakes_at_once, SHAKE);
  double open = now_s();
  say_and_wait("open");
  double again = now_s();
  round_of(all, count, active_at_once, ASK);
  double played = now_s();
  say_and_wait("played");
  for (int i = 0; i < count; i++) if (all[i].fd >= 0) { if (all[i].ssl) SSL_shutdown(all[i].ssl); end(&all[i]); }
  say_and_wait("closed");
  printf("{\"requests\": %lld, \"bad\": %lld, \"bad_reason\": \"%s\", \"bytes\": %lld, \"handshakes_s\": %.6f, \"requests_s\": %.6f}\n",
         done_total, bad_total, bad_reason, bytes_total, open - start, played - again);
}

static void hold(void) {
  struct connection *all = calloc(connections_wanted, sizeof *all);
  for (int i = 0; i < connections_wanted; i++) { all[i].fd = -1; all[i].script = i % script_count; all[i].out = malloc(OUT_MAX); }
  say_and_wait("ready");
  round_of(all, connections_wanted, handshakes_at_once, SHAKE_AND_ASK);
  say_and_wait("open");
  printf("{\"requests\": %lld, \"bad\": %lld, \"bad_reason\": \"%s\"}\n", done_total, bad_total, bad_reason);
}

int main(int argc, char **argv) {
  double duration = 1, rate = 0;
  unsigned seed = 1;
  if (argc < 2) fail("give a mode");
  for (int i = 2; i + 1 < argc; i += 2) {
    const char *name = argv[i], *value = argv[i + 1];
    if (!strcmp(name, "port")) port_number = atoi(value);
    else if (!strcmp(name, "connections")) connections_wanted = atoi(value);
    else if (!strcmp(name, "duration")) duration = atof(value);
    else if (!strcmp(name, "rate")) rate = atof(value);
    else if (!strcmp(name, "seed")) seed = atoi(value);
    else if (!strcmp(name, "window")) window = atoi(value);
    else if (!strcmp(name, "active")) active_at_once = atoi(value);
    else if (!strcmp(name, "status")) status_wanted = atoi(value);
    else if (!strcmp(name, "content")) content_wanted = atoi(value);
    else if (!strcmp(name, "first-alone")) first_alone = atoi(value);
    else if (!strcmp(name, "ends-after")) ends_after = atoll(value);
    else if (!strcmp(name, "counter")) counter = atoll(value);
    else if (!strcmp(name, "tls")) { is_tls = 1; server_name = value; }
    else if (!strcmp(name, "h2")) is_h2 = atoi(value);
    else if (!strcmp(name, "requests")) load_requests(value);
    else fail(name);
  }
  epoll_fd = epoll_create1(0);
  read_buffer = malloc(READ_MAX);
  if (is_tls) {
    ssl_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_verify(ssl_context, SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_min_proto_version(ssl_context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(ssl_context, ciphers);
    SSL_CTX_set_session_cache_mode(ssl_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl_context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_protos(ssl_context, (const unsigned char *)(is_h2 ? "\2h2" : "\10http/1.1"), is_h2 ? 3 : 9);
  }
  if (!strcmp(argv[1], "closed") || !strcmp(argv[1], "open")) closed_or_open(duration, !strcmp(argv[1], "open") ? rate : 0, seed);
  else if (!strcmp(argv[1], "visits")) visits();
  else if (!strcmp(argv[1], "hold")) hold();
  else fail(argv[1]);
  return 0;
}
