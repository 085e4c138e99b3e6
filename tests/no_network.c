/* Records and refuses every attempt to reach another machine: preloaded (LD_PRELOAD) into the processes under test.

   cc -shared -fPIC -O1 -o no_network.so tests/no_network.c -ldl

   Python's own hooks see Python's sockets alone; this sees those of every library that calls the C library
   (Rust's and C++'s too), in every process that is started. A line of $NO_NETWORK_LOG: what was called, whom
   it meant, process id, program. Allowed: this machine (Unix sockets, netlink, 127.0.0.0/8, ::1, the addresses of its interfaces), and names
   that need nobody to be asked. A UDP socket that is connected and never written to sends nothing: that is
   how programs ask the kernel for their own address. It is recorded as "route" and refused as well. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void record(const char *what, const char *whom) {
    const char *log = getenv("NO_NETWORK_LOG");
    char line[512];
    int saved = errno, size, file;
    if (log != NULL && (file = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) >= 0) {
        size = snprintf(line, sizeof line, "%s %s %d %s\n", what, whom, (int)getpid(), program_invocation_short_name);
        if (size > (int)sizeof line - 1) size = sizeof line - 1;
        if (write(file, line, size) != size) abort();
        close(file);
    }
    errno = saved;
}

/* Whether it is an address of one of this machine's own interfaces. */
static int is_own(const struct sockaddr *address) {
    struct ifaddrs *all, *each;
    int found = 0;
    if (getifaddrs(&all) != 0) return 0;
    for (each = all; each != NULL && !found; each = each->ifa_next) {
        if (each->ifa_addr == NULL || each->ifa_addr->sa_family != address->sa_family) continue;
        if (address->sa_family == AF_INET)
            found = ((const struct sockaddr_in *)each->ifa_addr)->sin_addr.s_addr ==
                    ((const struct sockaddr_in *)address)->sin_addr.s_addr;
        else if (address->sa_family == AF_INET6)
            found = IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)each->ifa_addr)->sin6_addr,
                                       &((const struct sockaddr_in6 *)address)->sin6_addr);
    }
    freeifaddrs(all);
    return found;
}

/* Whether an address is another machine's; its text in `text`. */
static int elsewhere(const struct sockaddr *address, char *text, size_t size) {
    char host[INET6_ADDRSTRLEN] = "?";
    int port = 0;
    if (address == NULL) return 0;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        if ((ntohl(four->sin_addr.s_addr) >> 24) == 127 || four->sin_addr.s_addr == 0) return 0;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        port = ntohs(four->sin_port);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        const unsigned char *bytes = six->sin6_addr.s6_addr;
        if (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr)) return 0;
        if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && bytes[12] == 127) return 0;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        port = ntohs(six->sin6_port);
    } else {
        return 0;
    }
    snprintf(text, size, "%s:%d", host, port);
    return !is_own(address);
}

static int is_datagram(int socket) {
    int kind = 0;
    socklen_t size = sizeof kind;
    return getsockopt(socket, SOL_SOCKET, SO_TYPE, &kind, &size) == 0 && kind == SOCK_DGRAM;
}

static int refused(const char *what, const char *whom) {
    record(what, whom);
    errno = ENETUNREACH;
    return -1;
}

int connect(int socket, const struct sockaddr *address, socklen_t size) {
    char whom[128];
    if (elsewhere(address, whom, sizeof whom)) return refused(is_datagram(socket) ? "route" : "connect", whom);
    return REAL(connect)(socket, address, size);
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *address, socklen_t length) {
    char whom[128];
    if (elsewhere(address, whom, sizeof whom)) return refused("sendto", whom);
    return REAL(sendto)(socket, data, size, flags, address, length);
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
    char whom[128];
    if (message != NULL && elsewhere(message->msg_name, whom, sizeof whom)) return refused("sendmsg", whom);
    return REAL(sendmsg)(socket, message, flags);
}

int sendmmsg(int socket, struct mmsghdr *messages, unsigned count, int flags) {
    char whom[128];
    for (unsigned each = 0; each < count; each++)
        if (elsewhere(messages[each].msg_hdr.msg_name, whom, sizeof whom)) return refused("sendmmsg", whom);
    return REAL(sendmmsg)(socket, messages, count, flags);
}

/* Whether a name is known without asking anybody: none, a number, localhost, this machine's own. */
static int known(const char *name) {
    unsigned char bytes[sizeof(struct in6_addr)];
    char own[256] = "";
    gethostname(own, sizeof own - 1);
    return name == NULL || *name == 0 || inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1 ||
           strcmp(name, "localhost") == 0 || strcmp(name, own) == 0;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (!known(name)) {
        record("getaddrinfo", name);
        return EAI_FAIL;
    }
    return REAL(getaddrinfo)(name, service, hints, found);
}

struct hostent *gethostbyname(const char *name) {
    if (!known(name)) {
        record("gethostbyname", name);
        h_errno = HOST_NOT_FOUND;
        return NULL;
    }
    return REAL(gethostbyname)(name);
}

struct hostent *gethostbyname2(const char *name, int family) {
    if (!known(name)) {
        record("gethostbyname2", name);
        h_errno = HOST_NOT_FOUND;
        return NULL;
    }
    return REAL(gethostbyname2)(name, family);
}

int gethostbyname_r(const char *name, struct hostent *made, char *buffer, size_t size, struct hostent **found, int *error) {
    if (!known(name)) {
        record("gethostbyname_r", name);
        *found = NULL;
        *error = HOST_NOT_FOUND;
        return ENOENT;
    }
    return REAL(gethostbyname_r)(name, made, buffer, size, found, error);
}
