/* A driver's library for tests: what KCloud Monitor asks of libnvidia-ml.so.1, answered for three cards that are not there.
   0: a whole card with two links and a process. 1: one divided into two MIG devices. 2: a small old one that lacks much.
   Files in DIR (a macro) make it misbehave while they are there. Shapes and numbers: NVIDIA's documented ABI. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int uint;
typedef unsigned long long ull;
enum { OK = 0, INVALID = 2, UNSUPPORTED = 3, DENIED = 4, NOT_FOUND = 6, SIZE = 7, NO_DRIVER = 9, TIMEOUT = 10, LOST = 15 };

struct card { uint index; int mig; };
static struct card cards[3] = {{0, -1}, {1, -1}, {2, -1}};
static struct card migs[2] = {{1, 0}, {1, 1}};

static int is(const char *what) {
    char path[512];
    snprintf(path, sizeof path, DIR "/%s", what);
    return access(path, F_OK) == 0;
}
static int says(char *to, uint most, const char *text) {
    if (strlen(text) >= most) return SIZE;
    strcpy(to, text);
    return OK;
}
#define WHOLE(d) if ((d)->mig >= 0) return INVALID
#define NOT_OLD(d) if ((d)->index == 2) return UNSUPPORTED

int nvmlInit_v2(void) { return is("no-driver") ? NO_DRIVER : is("denied") ? DENIED : OK; }
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *v, uint n) { return says(v, n, "570.86.15"); }
int nvmlSystemGetNVMLVersion(char *v, uint n) { return says(v, n, "12.570.86.15"); }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 12080; return OK; }
int nvmlDeviceGetCount_v2(uint *n) { *n = is("lie") ? 4000000000u : 3; return OK; }
int nvmlDeviceGetHandleByIndex_v2(uint i, struct card **d) {
    if (i > 2) return INVALID;
    if (i == 2 && is("lost")) return LOST;
    *d = &cards[i];
    return OK;
}
int nvmlDeviceGetUUID(struct card *d, char *v, uint n) {
    char uuid[64];
    if (d->mig >= 0) snprintf(uuid, sizeof uuid, "MIG-0000000%d-1111-2222-3333-444444444444", d->mig);
    else snprintf(uuid, sizeof uuid, "GPU-0000000%u-1111-2222-3333-444444444444", d->index);
    return says(v, n, uuid);
}
int nvmlDeviceGetName(struct card *d, char *v, uint n) {
    if (d->mig >= 0) return says(v, n, "NVIDIA H100 80GB HBM3 MIG 1g.10gb");
    if (is("lie")) return says(v, n, d->index ? "\x1b[2J evil" : "\xff\xfe\x80");
    return says(v, n, d->index == 2 ? "Tesla T4" : "NVIDIA H100 80GB HBM3");
}
struct pci { char legacy[16]; uint domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(struct card *d, struct pci *p) {
    memset(p, 0, sizeof *p);
    p->bus = 0x17 + d->index;
    snprintf(p->bus_id, sizeof p->bus_id, "00000000:%02X:00.0", p->bus);
    return OK;
}
int nvmlDeviceGetMinorNumber(struct card *d, uint *v) { *v = d->index; return OK; }
int nvmlDeviceGetSerial(struct card *d, char *v, uint n) { return says(v, n, "1650000000001"); }
int nvmlDeviceGetMigMode(struct card *d, uint *now, uint *then) { NOT_OLD(d); *now = *then = d->index == 1; return OK; }
int nvmlDeviceGetMaxMigDeviceCount(struct card *d, uint *n) { *n = d->index == 1 ? 7 : 0; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(struct card *d, uint i, struct card **m) {
    if (i > 1) return NOT_FOUND;
    *m = &migs[i];
    return OK;
}
int nvmlDeviceGetGpuInstanceId(struct card *d, uint *v) { if (d->mig < 0) return INVALID; *v = 7 + 2 * d->mig; return OK; }
int nvmlDeviceGetComputeInstanceId(struct card *d, uint *v) { if (d->mig < 0) return INVALID; *v = 0; return OK; }
int nvmlDeviceGetUtilizationRates(struct card *d, uint *v) {
    if (d->index == 1) return UNSUPPORTED;
    v[0] = 87 - d->index;
    v[1] = 40;
    return OK;
}
struct memory { uint version; ull total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(struct card *d, struct memory *m) {
    ull gib = 1ull << 30;
    m->total = (d->mig >= 0 ? 10 : d->index == 2 ? 16 : 80) * gib;
    m->used = (d->mig >= 0 ? 3 : 20) * gib / (d->index == 2 ? 4 : 1);
    m->reserved = gib / 2;
    m->free = m->total - m->used - m->reserved;
    return OK;
}
int nvmlDeviceGetPowerUsage(struct card *d, uint *v) {
    WHOLE(d);
    *v = 301500 - 100000 * d->index;
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(struct card *d, uint *v) { if (d->index == 2) return DENIED; *v = 700000; return OK; }
int nvmlDeviceGetTotalEnergyConsumption(struct card *d, ull *v) {
    NOT_OLD(d);
    if (d->index == 1 && is("crash")) *(volatile int *)0 = 1;
    *v = 123456789;
    return OK;
}
int nvmlDeviceGetTemperature(struct card *d, uint sensor, uint *v) {
    if (d->index == 0 && is("hang")) for (;;) pause();
    *v = 60 + d->index;
    return OK;
}
int nvmlDeviceGetTemperatureThreshold(struct card *d, uint which, uint *v) {
    static const uint all[] = {92, 89, 95, 87};
    if (which > 3) return INVALID;
    *v = all[which];
    return OK;
}
int nvmlDeviceGetClockInfo(struct card *d, uint which, uint *v) { *v = which == 2 ? 2619 : 1980; return OK; }
int nvmlDeviceGetMaxClockInfo(struct card *d, uint which, uint *v) { *v = which == 2 ? 2619 : 1980; return OK; }
int nvmlDeviceGetFanSpeed_v2(struct card *d, uint fan, uint *v) { return UNSUPPORTED; }
int nvmlDeviceGetPcieThroughput(struct card *d, uint which, uint *v) { *v = which ? 2000 : 1000; return OK; }
int nvmlDeviceGetPcieReplayCounter(struct card *d, uint *v) { *v = d->index == 2 ? 0xffffffffu : 3; return OK; }
int nvmlDeviceGetTotalEccErrors(struct card *d, uint kind, uint counter, ull *v) { NOT_OLD(d); *v = kind ? 1 : 12; return OK; }
int nvmlDeviceGetCurrentClocksThrottleReasons(struct card *d, ull *v) { *v = 4; return OK; }
struct violation { ull reference, time; };
int nvmlDeviceGetViolationStatus(struct card *d, uint why, struct violation *v) { v->reference = 1; v->time = 1500000000; return OK; }
struct field { uint id, scope; long long at, latency; int type, result; union { double d; uint u; ull l; } value; };
int nvmlDeviceGetFieldValues(struct card *d, int n, struct field *f) {
    for (int i = 0; i < n; i++) {
        f[i].result = d->index == 2 ? UNSUPPORTED : OK;
        f[i].type = 1;
        f[i].value.u = f[i].id == 82 ? 71 : f[i].id == 142 ? 5 : 0;
    }
    return OK;
}
int nvmlDeviceGetNvLinkState(struct card *d, uint link, uint *v) {
    if (d->index != 0 || link > 1) return INVALID;
    *v = link == 0;
    return OK;
}
int nvmlDeviceGetNvLinkErrorCounter(struct card *d, uint link, uint which, ull *v) { *v = 10 + which; return OK; }
struct process { uint pid; ull memory; uint gi, ci; };
static int processes(struct card *d, uint *n, struct process *p) {
    uint room = *n;
    *n = d->index == 0 || d->mig == 1;
    if (is("lie")) *n = 4000000000u;
    if (*n > room) return SIZE;
    if (*n) p[0] = (struct process){getpid(), 7ull << 30, 0xffffffffu, 0xffffffffu};
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(struct card *d, uint *n, struct process *p) { return processes(d, n, p); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(struct card *d, uint *n, struct process *p) { *n = 0; return OK; }
int nvmlDeviceGetSupportedEventTypes(struct card *d, ull *v) { *v = d->index == 0 ? 8 : 0; return OK; }
int nvmlEventSetCreate(void **set) { *set = &cards; return OK; }
int nvmlEventSetFree(void *set) { return OK; }
int nvmlDeviceRegisterEvents(struct card *d, ull types, void *set) { return OK; }
struct event { struct card *device; ull type, data; uint gi, ci; };
int nvmlEventSetWait_v2(void *set, struct event *e, uint ms) {
    if (!is("xid")) return TIMEOUT;
    unlink(DIR "/xid");
    *e = (struct event){&cards[0], 8, 79, 0, 0};
    return OK;
}
