/* The floor of `python -m bench.edge`: what answering costs the kernel. One epoll loop that looks for nothing in a request
   but its path, and writes an answer that was made when it started.

   edge_floor FILE...   answers GET /NAME with each file's content; writes its port, serves until it is ended. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ANSWERS_MAX = 16, READ_MAX = 65536, BATCH = 256, CONNECTIONS_MAX = 4096 };
struct answer { const char *name; size_t name_size, size; char *bytes; };
static struct answer answers[ANSWERS_MAX];
static struct { const struct answer *answer; size_t sent; } writing[CONNECTIONS_MAX];
static int answer_count, epoll_fd;

static void prepare(const char *path) {
  struct answer *a = &answers[answer_count++];
  a->name = strrchr(path, '/') + 1;
  a->name_size = strlen(a->name);
  FILE *f = fopen(path, "rb");
  fseek(f, 0, SEEK_END);
  long content = ftell(f);
  rewind(f);
  a->bytes = malloc(content + 1024);
  a->size = sprintf(a->bytes,
                    "HTTP/1.1 200 OK\r\nServer: floor\r\nDate: Mon, 23 Nov 2026 08:00:00 GMT\r\nContent-Type: text/css\r\n"
                    "Content-Length: %ld\r\nConnection: keep-alive\r\nLast-Modified: Mon, 23 Nov 2026 07:00:00 GMT\r\n"
                    "ETag: \"6922c0d0-400\"\r\nCache-Control: public, max-age=3600\r\nX-Cache: HIT\r\nAccept-Ranges: bytes\r\n\r\n",
                    content);
  if (fread(a->bytes + a->size, 1, content, f) != (size_t)content) exit(1);
  a->size += content;
  fclose(f);
}

/* Writes what is left; watches for room when the socket takes no more. */
static void go_on(int fd) {
  while (writing[fd].answer) {
    const struct answer *a = writing[fd].answer;
    ssize_t n = write(fd, a->bytes + writing[fd].sent, a->size - writing[fd].sent);
    if (n < 0) {
      struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};
      if (errno == EAGAIN) epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &e);
      else writing[fd].answer = NULL; /* reset: the end is read next */
      return;
    }
    writing[fd].sent += n;
    if (writing[fd].sent == a->size) writing[fd].answer = NULL;
  }
}

static void asked(int fd, const char *request, ssize_t size) {
  for (int i = 0; i < answer_count; i++)
    if ((size_t)size > answers[i].name_size + 6 && !memcmp(request + 5, answers[i].name, answers[i].name_size)) {
      writing[fd].answer = &answers[i];
      writing[fd].sent = 0;
      go_on(fd);
      return;
    }
  close(fd);
}

int main(int argc, char **argv) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[BATCH];
  static char request[READ_MAX];
  signal(SIGPIPE, SIG_IGN);
  for (int i = 1; i < argc; i++) prepare(argv[i]);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) return 1;
  getsockname(listener, (void *)&address, &length);
  epoll_fd = epoll_create1(0);
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    int n = epoll_wait(epoll_fd, events, BATCH, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) {
        int c;
        while ((c = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
          if (c >= CONNECTIONS_MAX) { close(c); continue; }
          setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          writing[c].answer = NULL;
          struct epoll_event new = {.events = EPOLLIN, .data.fd = c};
          epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c, &new);
        }
        continue;
      }
      if (events[i].events & EPOLLOUT) {
        go_on(fd);
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        if (!writing[fd].answer) epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &e);
      }
      if (events[i].events & EPOLLIN) {
        ssize_t size = read(fd, request, sizeof request);
        if (size > 0) asked(fd, request, size);
        else if (size == 0 || errno != EAGAIN) close(fd);
      } else if (events[i].events & (EPOLLERR | EPOLLHUP)) close(fd);
    }
  }
}
