/* Stands for libnvidia-ml.so.1 where there is no GPU: as much of NVML as Nomad's device plugin and the GPU probe call.
 *
 * The cards are the lines of the file that FAKE_NVML_CONF names, or of /etc/fake-nvml.conf, read once, at nvmlInit:
 *
 *     uuid<TAB>name<TAB>pci-bus-id<TAB>memory MiB[<TAB>lost]
 *
 * A card marked "lost" answers as one that has fallen off its bus. A line that begins with "+" has the card above it (or
 * the driver, before the first card) answer a call otherwise, by the name of nvml.h without its version:
 *
 *     +nvmlDeviceGetEccMode<TAB>1 1          these numbers
 *     +nvmlDeviceGetEccMode<TAB>error 999    this error
 *     +nvmlDeviceGetEccMode<TAB>slow 600     its usual answer, so many milliseconds later
 *     +nvmlDeviceGetEccMode<TAB>hang         no answer, ever
 *     +nvmlDeviceGetEccMode<TAB>stuck        likewise, and no signal ends it: a copy of the process stays
 *     +nvmlDeviceGetEccMode<TAB>die          the process ends
 *     +mig<TAB>uuid<TAB>name<TAB>memory MiB  a MIG device more
 *
 * A line "hang" stands for "+nvmlInit<TAB>hang": a wedged driver. Without the file there is no driver. Built with
 * -DOLD_DRIVER it lacks what drivers before R450 lack, with -DANCIENT_DRIVER even what those before R390 do. Signatures
 * and values are those of NVIDIA's nvml.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef ANCIENT_DRIVER
#define OLD_DRIVER
#endif

enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NO_PERMISSION = 4,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9,
    GPU_IS_LOST = 15,
    LIB_RM_VERSION_MISMATCH = 18,
    UNKNOWN = 999,
};

enum { MAX_CARDS = 32, MAX_MIG = 8, MAX_ANSWERS = 40, MAX_NUMBERS = 320 };
enum { FIELD_BYTES = 128, WORDS_BYTES = 4096, BUS_ID_BYTES = 32, LEGACY_BUS_ID_BYTES = 16 };

enum { VOLATILE, AGGREGATE };

typedef int nvmlReturn_t;

struct answer {
    char call[FIELD_BYTES];
    char words[WORDS_BYTES];
};

typedef struct card {
    char uuid[FIELD_BYTES];
    char name[FIELD_BYTES];
    char bus_id[BUS_ID_BYTES];
    unsigned long long memory_bytes;
    int is_lost;
    struct answer answers[MAX_ANSWERS];
    unsigned int answer_count, mig_count;
    struct card *mig[MAX_MIG];
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

typedef struct {
    unsigned int pid;
    unsigned long long used_gpu_memory;
    unsigned int gpu_instance_id, compute_instance_id;
} nvmlProcessInfo_t;

typedef struct {
    unsigned int multiprocessors, copy_engines, decoders, encoders, jpeg, ofa, gpu_instance_slices, compute_slices;
    unsigned long long memory_mb;
} nvmlDeviceAttributes_t;

typedef struct {
    unsigned char cluster_uuid[16];
    nvmlReturn_t status;
    unsigned int clique_id, state;
} nvmlGpuFabricInfo_t;

typedef struct {
    unsigned int version;
    unsigned char cluster_uuid[16];
    nvmlReturn_t status;
    unsigned int clique_id;
    unsigned char state;
    unsigned int health_mask;
} nvmlGpuFabricInfoV_t;

static struct card cards[MAX_CARDS], driver;
static unsigned int card_count;
static int is_initialized;

/* --- the file --- */

/* The next field of a line, cut off in place; "" when there is none left. */
static const char *next_field(char **rest) {
    const char *field = strsep(rest, "\t");
    return field ? field : "";
}

static void fill(struct card *card, char *line) {
    memset(card, 0, sizeof *card);
    snprintf(card->uuid, sizeof card->uuid, "%s", next_field(&line));
    snprintf(card->name, sizeof card->name, "%s", next_field(&line));
    snprintf(card->bus_id, sizeof card->bus_id, "%s", next_field(&line));
    card->memory_bytes = strtoull(next_field(&line), NULL, 10) << 20;
    card->is_lost = strcmp(next_field(&line), "lost") == 0;
}

static void add_mig(struct card *card, char *line) {
    struct card *device = calloc(1, sizeof *device);
    if (!device || card->mig_count == MAX_MIG)
        abort();
    snprintf(device->uuid, sizeof device->uuid, "%s", next_field(&line));
    snprintf(device->name, sizeof device->name, "%s", next_field(&line));
    device->memory_bytes = strtoull(next_field(&line), NULL, 10) << 20;
    card->mig[card->mig_count++] = device;
}

static void add_answer(struct card *card, char *line) {
    const char *call = next_field(&line);
    if (strcmp(call, "mig") == 0) {
        add_mig(card, line);
        return;
    }
    if (card->answer_count == MAX_ANSWERS)
        abort();
    struct answer *answer = &card->answers[card->answer_count++];
    snprintf(answer->call, sizeof answer->call, "%s", call);
    snprintf(answer->words, sizeof answer->words, "%s", line ? line : "");
}

static int read_file(void) {
    const char *path = getenv("FAKE_NVML_CONF");
    FILE *file = fopen(path ? path : "/etc/fake-nvml.conf", "re");
    static char line[WORDS_BYTES];

    if (!file)
        return 0;
    card_count = 0;
    memset(&driver, 0, sizeof driver);
    while (card_count < MAX_CARDS && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "hang") == 0)
            strcpy(line, "+nvmlInit\thang");
        if (line[0] == '+')
            add_answer(card_count ? &cards[card_count - 1] : &driver, line + 1);
        else if (line[0] != '\0' && line[0] != '#')
            fill(&cards[card_count++], line);
    }
    fclose(file);
    return 1;
}

/* --- answers --- */

static void hang(void) {
    for (;;)
        pause();
}

/* What is stuck in the driver survives any signal; here a copy does, with every file that the process had. */
static void get_stuck(void) {
    fork();
    hang();
}

/* What the file has a card answer: *words becomes the text, NULL where the file is silent. */
static nvmlReturn_t consult(nvmlDevice_t card, const char *call, const char **words) {
    *words = NULL;
    for (unsigned int number = 0; number < card->answer_count; number++)
        if (strcmp(card->answers[number].call, call) == 0)
            *words = card->answers[number].words;
    if (!*words)
        return SUCCESS;
    if (strcmp(*words, "hang") == 0)
        hang();
    if (strcmp(*words, "stuck") == 0)
        get_stuck();
    if (strcmp(*words, "die") == 0)
        _exit(1);
    if (strncmp(*words, "slow ", 5) == 0) {
        usleep((unsigned int)strtoul(*words + 5, NULL, 10) * 1000);
        *words = NULL;
        return SUCCESS;
    }
    return strncmp(*words, "error ", 6) == 0 ? (nvmlReturn_t)strtol(*words + 6, NULL, 10) : SUCCESS;
}

/* The numbers that the file has a card answer; as many as there are, the rest stays as it is. */
static nvmlReturn_t consult_numbers(nvmlDevice_t card, const char *call, unsigned long long *numbers, unsigned int *count) {
    const char *words;
    nvmlReturn_t result = consult(card, call, &words);
    unsigned int room = *count;

    *count = 0;
    if (result != SUCCESS || !words)
        return result;
    for (char *end; *count < room; words = end) {
        unsigned long long number = strtoull(words, &end, 10);
        if (end == words)
            break;
        numbers[(*count)++] = number;
    }
    return SUCCESS;
}

static nvmlReturn_t copy_text(const char *text, char *to, unsigned int size) {
    return (unsigned int)snprintf(to, size, "%s", text) < size ? SUCCESS : INSUFFICIENT_SIZE;
}

static nvmlReturn_t answer_text(nvmlDevice_t card, const char *call, const char *text, char *to, unsigned int size) {
    const char *words;
    nvmlReturn_t result = consult(card, call, &words);
    return result == SUCCESS ? copy_text(words ? words : text, to, size) : result;
}

/* --- the library and the driver --- */

nvmlReturn_t nvmlInit_v2(void) {
    const char *words;
    nvmlReturn_t result = read_file() ? consult(&driver, "nvmlInit", &words) : DRIVER_NOT_LOADED;
    is_initialized = result == SUCCESS;
    return result;
}

nvmlReturn_t nvmlInit(void) {
    return nvmlInit_v2();
}

#ifndef ANCIENT_DRIVER
nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    return nvmlInit_v2();
}
#endif

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
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    case LIB_RM_VERSION_MISMATCH: return "Driver/library version mismatch";
    default: return "Unknown Error";
    }
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned int length) {
    return answer_text(&driver, "nvmlSystemGetDriverVersion", "570.86.15", version, length);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned int length) {
    return answer_text(&driver, "nvmlSystemGetNVMLVersion", "12.570.86.15", version, length);
}

#ifndef OLD_DRIVER
nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    unsigned long long number = 12080;
    unsigned int count = 1;
    nvmlReturn_t result = consult_numbers(&driver, "nvmlSystemGetCudaDriverVersion", &number, &count);
    *version = (int)number;
    return result;
}
#endif

nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char *name, unsigned int length) {
    (void)pid;
    return answer_text(&driver, "nvmlSystemGetProcessName", "/opt/miner/t-rex", name, length);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) {
    const char *words;
    *count = card_count;
    return is_initialized ? consult(&driver, "nvmlDeviceGetCount", &words) : UNINITIALIZED;
}

static nvmlReturn_t answer_handle(nvmlDevice_t card, nvmlDevice_t *device) {
    const char *words;
    *device = card;
    return card->is_lost ? GPU_IS_LOST : consult(card, "nvmlDeviceGetHandleByIndex", &words);
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

/* --- a card --- */

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length) {
    return answer_text(device, "nvmlDeviceGetUUID", device->uuid, uuid, length);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned int length) {
    return answer_text(device, "nvmlDeviceGetName", device->name, name, length);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    const char *words;
    *memory = (nvmlMemory_t){.total = device->memory_bytes, .free = device->memory_bytes, .used = 0};
    return consult(device, "nvmlDeviceGetMemoryInfo", &words);
}

nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    (void)device;
    *memory = (nvmlMemory_t){.total = 256ULL << 20, .free = 255ULL << 20, .used = 1ULL << 20};
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t *info) {
    const char *words;
    memset(info, 0, sizeof *info);
    sscanf(device->bus_id, "%x:%x:%x", &info->domain, &info->bus, &info->device);
    snprintf(info->bus_id, sizeof info->bus_id, "%s", device->bus_id);
    snprintf(info->legacy_bus_id, sizeof info->legacy_bus_id, "%04x:%02x:%02x.0", info->domain & 0xffff,
             info->bus & 0xff, info->device & 0xff);
    return consult(device, "nvmlDeviceGetPciInfo", &words);
}

nvmlReturn_t nvmlDeviceGetDetailedEccErrors(nvmlDevice_t device, int error, int counter, nvmlEccErrorCounts_t *counts) {
    (void)device;
    (void)error;
    (void)counter;
    memset(counts, 0, sizeof *counts);
    return NOT_SUPPORTED;
}

/* "+nvmlDeviceGetTotalEccErrors 12 3": corrected and uncorrected ones of the card's life; none since the last boot. */
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int error, int counter, unsigned long long *number) {
    unsigned long long numbers[2] = {0, 0};
    unsigned int count = 2;
    nvmlReturn_t result = consult_numbers(device, "nvmlDeviceGetTotalEccErrors", numbers, &count);
    *number = counter == AGGREGATE ? numbers[error == 1] : 0;
    return result == SUCCESS && count == 0 ? NOT_SUPPORTED : result;
}

/* "+nvmlDeviceGetRetiredPages 2 1": how many for either cause. */
nvmlReturn_t nvmlDeviceGetRetiredPages(nvmlDevice_t device, int cause, unsigned int *count, unsigned long long *pages) {
    unsigned long long numbers[2] = {0, 0};
    unsigned int known = 2, room = *count;
    nvmlReturn_t result = consult_numbers(device, "nvmlDeviceGetRetiredPages", numbers, &known);
    if (result != SUCCESS || known == 0)
        return result == SUCCESS ? NOT_SUPPORTED : result;
    *count = (unsigned int)numbers[cause == 1];
    if (*count > room || (*count > 0 && !pages))
        return INSUFFICIENT_SIZE;
    for (unsigned int page = 0; page < *count; page++)
        pages[page] = 4096ULL * page;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    unsigned long long number = 0;
    unsigned int count = 1;
    nvmlReturn_t result = consult_numbers(device, "nvmlDeviceGetUtilizationRates", &number, &count);
    *rates = (nvmlUtilization_t){(unsigned int)number, 0};
    return result;
}

/* Calls that ask a card for one number; those of value NONE are not supported unless the file has them. */
enum { NONE = -1 };
static nvmlReturn_t answer_number(nvmlDevice_t device, const char *call, int value, unsigned int *number) {
    unsigned long long given = value == NONE ? 0 : (unsigned long long)value;
    unsigned int count = 1;
    nvmlReturn_t result = consult_numbers(device, call, &given, &count);
    *number = (unsigned int)given;
    return result == SUCCESS && count == 0 && value == NONE ? NOT_SUPPORTED : result;
}
#define NUMBER(function, value)                                         \
    nvmlReturn_t function(nvmlDevice_t device, unsigned int *number) {  \
        return answer_number(device, #function, (value), number);       \
    }
NUMBER(nvmlDeviceGetPowerUsage, 21000)
NUMBER(nvmlDeviceGetPowerManagementLimit, 450000)
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, 450000)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, 1)
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, 1)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, 1)
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, 4)
NUMBER(nvmlDeviceGetDisplayMode, 0)
NUMBER(nvmlDeviceGetDisplayActive, 0)
NUMBER(nvmlDeviceGetPersistenceMode, 1)
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, NONE)

/* Calls that ask for one number of a kind (which clock, which sensor, which link): "+CALL 1 0 1", by kind. */
static nvmlReturn_t answer_kind(nvmlDevice_t device, const char *call, int kind, int value, unsigned int *number) {
    unsigned long long numbers[MAX_NUMBERS];
    unsigned int count = MAX_NUMBERS;
    nvmlReturn_t result = consult_numbers(device, call, numbers, &count);
    *number = (unsigned int)value;
    if (result != SUCCESS || count == 0)
        return result == SUCCESS && value == NONE ? NOT_SUPPORTED : result;
    if ((unsigned int)kind >= count)
        return INVALID_ARGUMENT;
    *number = (unsigned int)numbers[kind];
    return SUCCESS;
}
#define NUMBER_OF_KIND(function, value)                                          \
    nvmlReturn_t function(nvmlDevice_t device, int kind, unsigned int *number) { \
        return answer_kind(device, #function, kind, (value), number);            \
    }
NUMBER_OF_KIND(nvmlDeviceGetClockInfo, 2100)
NUMBER_OF_KIND(nvmlDeviceGetTemperature, 41)
NUMBER_OF_KIND(nvmlDeviceGetTemperatureThreshold, 90)
NUMBER_OF_KIND(nvmlDeviceGetNvLinkState, NONE)

/* Calls that answer two numbers; consumer cards know neither MIG nor ECC, and say so. */
static nvmlReturn_t answer_pair(nvmlDevice_t device, const char *call, int value, unsigned int *one, unsigned int *two) {
    unsigned long long numbers[2] = {(unsigned long long)value, (unsigned long long)value};
    unsigned int count = 2;
    nvmlReturn_t result = consult_numbers(device, call, numbers, &count);
    *one = *two = 0;
    if (result != SUCCESS || (count == 0 && value == NONE))
        return result == SUCCESS ? NOT_SUPPORTED : result;
    *one = (unsigned int)numbers[0];
    *two = (unsigned int)numbers[1];
    return SUCCESS;
}
#define PAIR(function, value)                                                                  \
    nvmlReturn_t function(nvmlDevice_t device, unsigned int *one, unsigned int *two) {         \
        return answer_pair(device, #function, (value), one, two);                              \
    }
PAIR(nvmlDeviceGetEccMode, NONE)
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, 450000)
#ifndef OLD_DRIVER
PAIR(nvmlDeviceGetMigMode, NONE)
#endif

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

#ifndef OLD_DRIVER

/* --- what came with R450 and later --- */

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int *corrected, unsigned int *uncorrected,
                                       unsigned int *is_pending, unsigned int *has_failed) {
    unsigned long long numbers[4] = {0, 0, 0, 0};
    unsigned int count = 4;
    nvmlReturn_t result = consult_numbers(device, "nvmlDeviceGetRemappedRows", numbers, &count);
    *corrected = (unsigned int)numbers[0];
    *uncorrected = (unsigned int)numbers[1];
    *is_pending = (unsigned int)numbers[2];
    *has_failed = (unsigned int)numbers[3];
    return result == SUCCESS && count == 0 ? NOT_SUPPORTED : result;
}

/* "+nvmlDeviceGetComputeRunningProcesses 4242 1024 4243 0": process and MiB, and so on. */
static nvmlReturn_t list_processes(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *processes) {
    unsigned long long numbers[MAX_NUMBERS];
    unsigned int known = MAX_NUMBERS, room = *count;
    nvmlReturn_t result = consult_numbers(device, "nvmlDeviceGetComputeRunningProcesses", numbers, &known);
    if (result != SUCCESS)
        return result;
    *count = known / 2;
    if (*count > room || (*count > 0 && !processes))
        return INSUFFICIENT_SIZE;
    for (unsigned int place = 0; place < *count; place++)
        processes[place] = (nvmlProcessInfo_t){(unsigned int)numbers[2 * place], numbers[2 * place + 1] << 20, 0, 0};
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *list) {
    return list_processes(device, count, list);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned int *count, nvmlProcessInfo_t *list) {
    return list_processes(device, count, list);
}

nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig_device, nvmlDevice_t *device) {
    (void)mig_device;
    (void)device;
    return INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int *count) {
    (void)device;
    *count = MAX_MIG - 1;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned int index, nvmlDevice_t *mig_device) {
    if (index >= device->mig_count)
        return NOT_FOUND;
    *mig_device = device->mig[index];
    return SUCCESS;
}

/* Of a MIG device only; its first slice for every 5 GiB, as on an A100 of 40 GB. */
nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes) {
    memset(attributes, 0, sizeof *attributes);
    attributes->memory_mb = device->memory_bytes >> 20;
    attributes->gpu_instance_slices = (unsigned int)(attributes->memory_mb / 4800);
    return SUCCESS;
}

/* "+nvmlDeviceGetGpuFabricInfo 3 0": state and status. */
static nvmlReturn_t answer_fabric(nvmlDevice_t device, unsigned int *state, nvmlReturn_t *status) {
    unsigned long long numbers[2] = {0, 0};
    unsigned int count = 2;
    nvmlReturn_t result = consult_numbers(device, "nvmlDeviceGetGpuFabricInfo", numbers, &count);
    *state = (unsigned int)numbers[0];
    *status = (nvmlReturn_t)numbers[1];
    return result == SUCCESS && count == 0 ? NOT_SUPPORTED : result;
}

nvmlReturn_t nvmlDeviceGetGpuFabricInfo(nvmlDevice_t device, nvmlGpuFabricInfo_t *info) {
    return answer_fabric(device, &info->state, &info->status);
}

nvmlReturn_t nvmlDeviceGetGpuFabricInfoV(nvmlDevice_t device, nvmlGpuFabricInfoV_t *info) {
    unsigned int state;
    nvmlReturn_t result = answer_fabric(device, &state, &info->status);
    info->state = (unsigned char)state;
    return result;
}

#endif
