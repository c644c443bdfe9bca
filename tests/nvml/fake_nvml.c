/* Stands for libnvidia-ml.so.1 where there is no GPU: as much of NVML as Nomad's device plugin calls.
 *
 * The cards are the lines of the file that FAKE_NVML_CONF names, or of /etc/fake-nvml.conf, read once, at nvmlInit:
 *
 *     uuid<TAB>name<TAB>pci-bus-id<TAB>memory MiB[<TAB>lost]
 *
 * A card marked "lost" answers as one that has fallen off its bus. A line "hang" makes nvmlInit never return, as a
 * wedged driver does. Without the file there is no driver. Signatures and values are those of NVIDIA's nvml.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    GPU_IS_LOST = 15,
};

enum { MAX_CARDS = 32, FIELD_BYTES = 96, BUS_ID_BYTES = 32, LEGACY_BUS_ID_BYTES = 16 };

typedef int nvmlReturn_t;

typedef struct card {
    char uuid[FIELD_BYTES];
    char name[FIELD_BYTES];
    char bus_id[BUS_ID_BYTES];
    unsigned long long memory_bytes;
    int is_lost;
} *nvmlDevice_t;

typedef struct {
    unsigned long long total, free, used;
} nvmlMemory_t;

typedef struct {
    unsigned int gpu, memory;
} nvmlUtilization_t;

typedef struct {
    unsigned long long l1_cache, l2_cache, device_memory, register_file;
} nvmlEccErrorCounts_t;

typedef struct {
    char legacy_bus_id[LEGACY_BUS_ID_BYTES];
    unsigned int domain, bus, device, device_id, subsystem_id;
    char bus_id[BUS_ID_BYTES];
} nvmlPciInfo_t;

static struct card cards[MAX_CARDS];
static unsigned int card_count;
static int is_initialized;

/* The next field of a line, cut off in place; "" when there is none left. */
static const char *next_field(char **rest) {
    const char *field = strsep(rest, "\t");
    return field ? field : "";
}

static void add_card(char *line) {
    struct card *card = &cards[card_count++];
    snprintf(card->uuid, sizeof card->uuid, "%s", next_field(&line));
    snprintf(card->name, sizeof card->name, "%s", next_field(&line));
    snprintf(card->bus_id, sizeof card->bus_id, "%s", next_field(&line));
    card->memory_bytes = strtoull(next_field(&line), NULL, 10) << 20;
    card->is_lost = strcmp(next_field(&line), "lost") == 0;
}

static void hang(void) {
    for (;;)
        pause();
}

nvmlReturn_t nvmlInit_v2(void) {
    const char *path = getenv("FAKE_NVML_CONF");
    FILE *file = fopen(path ? path : "/etc/fake-nvml.conf", "re");
    char line[512];

    if (!file)
        return DRIVER_NOT_LOADED;
    card_count = 0;
    while (card_count < MAX_CARDS && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = '\0';
        if (strcmp(line, "hang") == 0)
            hang();
        if (line[0] != '\0' && line[0] != '#')
            add_card(line);
    }
    fclose(file);
    is_initialized = 1;
    return SUCCESS;
}

nvmlReturn_t nvmlInit(void) {
    return nvmlInit_v2();
}

nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    return nvmlInit_v2();
}

nvmlReturn_t nvmlShutdown(void) {
    if (!is_initialized)
        return UNINITIALIZED;
    is_initialized = 0;
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result) {
    switch (result) {
    case SUCCESS: return "The operation was successful";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

static nvmlReturn_t copy_text(const char *text, char *to, unsigned int size) {
    return (unsigned int)snprintf(to, size, "%s", text) < size ? SUCCESS : INSUFFICIENT_SIZE;
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    return copy_text("570.86.15", version, length);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = card_count;
    return is_initialized ? SUCCESS : UNINITIALIZED;
}

static nvmlReturn_t answer_handle(nvmlDevice_t card, nvmlDevice_t *device) {
    *device = card;
    return card->is_lost ? GPU_IS_LOST : SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    return index < card_count ? answer_handle(&cards[index], device) : INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    for (unsigned int index = 0; index < card_count; index++)
        if (strcmp(cards[index].uuid, uuid) == 0)
            return answer_handle(&cards[index], device);
    return NOT_FOUND;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    return copy_text(device->uuid, uuid, length);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    return copy_text(device->name, name, length);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    *memory = (nvmlMemory_t){.total = device->memory_bytes, .free = device->memory_bytes, .used = 0};
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    (void)device;
    *memory = (nvmlMemory_t){.total = 256ULL << 20, .free = 255ULL << 20, .used = 1ULL << 20};
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *info) {
    memset(info, 0, sizeof *info);
    sscanf(device->bus_id, "%x:%x:%x", &info->domain, &info->bus, &info->device);
    snprintf(info->bus_id, sizeof info->bus_id, "%s", device->bus_id);
    snprintf(info->legacy_bus_id, sizeof info->legacy_bus_id, "%04x:%02x:%02x.0", info->domain & 0xffff,
             info->bus & 0xff, info->device & 0xff);
    return SUCCESS;
}

/* Consumer cards know neither MIG nor ECC, and say so. */
nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int *current, unsigned int *pending) {
    (void)device;
    *current = *pending = 0;
    return NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig_device, nvmlDevice_t *device) {
    (void)mig_device;
    (void)device;
    return INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetDetailedEccErrors(nvmlDevice_t device, int error, int counter, nvmlEccErrorCounts_t *counts) {
    (void)device;
    (void)error;
    (void)counter;
    memset(counts, 0, sizeof *counts);
    return NOT_SUPPORTED;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    (void)device;
    *rates = (nvmlUtilization_t){0, 0};
    return SUCCESS;
}

/* Calls that ask a card for one number. */
#define NUMBER(function, value)                                         \
    nvmlReturn_t function(nvmlDevice_t device, unsigned int *number) {  \
        (void)device;                                                   \
        *number = (value);                                              \
        return SUCCESS;                                                 \
    }
NUMBER(nvmlDeviceGetPowerUsage, 21000)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, 1)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, 4)
NUMBER(nvmlDeviceGetDisplayMode, 0)
NUMBER(nvmlDeviceGetPersistenceMode, 1)

/* Calls that ask for one number of a kind (which clock, which sensor). */
#define NUMBER_OF_KIND(function, value)                                          \
    nvmlReturn_t function(nvmlDevice_t device, int kind, unsigned int *number) { \
        (void)device;                                                            \
        (void)kind;                                                              \
        *number = (value);                                                       \
        return SUCCESS;                                                          \
    }
NUMBER_OF_KIND(nvmlDeviceGetClockInfo, 2100)
NUMBER_OF_KIND(nvmlDeviceGetTemperature, 41)

/* Calls that answer a percentage and the sampling period. */
#define IDLE(function)                                                                                \
    nvmlReturn_t function(nvmlDevice_t device, unsigned int *percent, unsigned int *period_us) {      \
        (void)device;                                                                                 \
        *percent = 0;                                                                                 \
        *period_us = 100000;                                                                          \
        return SUCCESS;                                                                               \
    }
IDLE(nvmlDeviceGetEncoderUtilization)
IDLE(nvmlDeviceGetDecoderUtilization)
