// SPDX-License-Identifier: GPL-2.0
/*
 * The parameter "device_coherent=" in the EFI stub: nothing that the stub places
 * may lie in memory that becomes a device's, see mm/device_coherent/boot.c.
 *
 * The kernel image, the initrd, the device tree, the memory map and the tables that
 * the stub leaves behind come from the firmware's allocator, at random or from the
 * top of memory, which is where device memory often is. So what is still free of a
 * device's memory is taken first, as data of a boot loader: for the kernel that is
 * ordinary memory again.
 *
 * Node ids aren't known here. But device nodes have no CPUs: node:N keeps out of
 * memory of all domains of the SRAT that have none.
 */
#include <linux/acpi.h>
#include <linux/efi.h>
#include <linux/sizes.h>

#include "device_coherent.h"
#include "efistub.h"

#define MAX_AREAS	128

/* With less than that elsewhere, the kernel may lie where it likes. */
#define MIN_ELSEWHERE	SZ_256M

struct area {
	u64 start;
	u64 end;
};

static struct area areas[MAX_AREAS];
static int nr_areas;

/* Does any of it overlap a range? */
bool efi_device_coherent_covers(u64 start, u64 size)
{
	int i;

	for (i = 0; i < nr_areas; i++)
		if (start < areas[i].end && areas[i].start < start + size)
			return true;

	return false;
}

static void add_area(u64 start, u64 size)
{
	if (!size || start + size < start)
		return;
	if (nr_areas == MAX_AREAS) {
		efi_warn("device_coherent: more than %d ranges\n", MAX_AREAS);
		return;
	}
	areas[nr_areas].start = start;
	areas[nr_areas++].end = start + size;
}

static struct acpi_table_srat *find_srat(void)
{
	struct acpi_table_rsdp *rsdp = get_efi_config_table(ACPI_20_TABLE_GUID);
	struct acpi_table_xsdt *xsdt;
	unsigned int i, nr;

	if (!rsdp || rsdp->revision < 2 || !rsdp->xsdt_physical_address)
		return NULL;

	xsdt = (void *)(unsigned long)rsdp->xsdt_physical_address;
	nr = (xsdt->header.length - sizeof(xsdt->header)) / sizeof(u64);
	for (i = 0; i < nr; i++) {
		struct acpi_table_header *table;
		u64 addr;

		/* They need not be aligned. */
		memcpy(&addr, &xsdt->table_offset_entry[i], sizeof(addr));
		table = (void *)(unsigned long)addr;
		if (table && !memcmp(table->signature, ACPI_SIG_SRAT,
				     ACPI_NAMESEG_SIZE))
			return (void *)table;
	}

	return NULL;
}

/* The entry of the SRAT behind @entry, the first one for NULL */
static struct acpi_subtable_header *
next_entry(struct acpi_table_srat *srat, struct acpi_subtable_header *entry)
{
	u8 *p = entry ? (u8 *)entry + entry->length : (u8 *)(srat + 1);
	u8 *end = (u8 *)srat + srat->header.length;

	if (p + sizeof(*entry) > end)
		return NULL;
	entry = (void *)p;
	if (entry->length < sizeof(*entry) || p + entry->length > end)
		return NULL;

	return entry;
}

static bool has_cpu(struct acpi_table_srat *srat, u32 domain)
{
	struct acpi_subtable_header *entry = NULL;

	while ((entry = next_entry(srat, entry))) {
		struct acpi_srat_gicc_affinity *gicc = (void *)entry;

		if (entry->type == ACPI_SRAT_TYPE_GICC_AFFINITY &&
		    entry->length >= sizeof(*gicc) &&
		    (gicc->flags & ACPI_SRAT_GICC_ENABLED) &&
		    gicc->proximity_domain == domain)
			return true;
	}

	return false;
}

static void add_domains_without_cpus(void)
{
	struct acpi_table_srat *srat = find_srat();
	struct acpi_subtable_header *entry = NULL;

	if (!srat) {
		efi_warn("device_coherent: no SRAT, only ranges are kept out of\n");
		return;
	}

	while ((entry = next_entry(srat, entry))) {
		struct acpi_srat_mem_affinity *mem = (void *)entry;

		if (entry->type == ACPI_SRAT_TYPE_MEMORY_AFFINITY &&
		    entry->length >= sizeof(*mem) &&
		    (mem->flags & ACPI_SRAT_MEM_ENABLED) &&
		    !has_cpu(srat, mem->proximity_domain))
			add_area(mem->base_address, mem->length);
	}
}

/* What is wrong is said later, by the kernel itself. */
static void parse_words(const char *word)
{
	bool wants_node = false;

	while (word && *word) {
		char *p;
		u64 size = memparse(word, &p);

		if (p != word && *p == '@')
			add_area(memparse(p + 1, &p), size);
		else if (strstarts(word, "node:"))
			wants_node = true;

		while (*word && *word++ != ',')
			;
	}
	if (wants_node)
		add_domains_without_cpus();
}

/* How much free memory there is beside the ranges, in which they may overlap */
static u64 free_elsewhere(struct efi_boot_memmap *map)
{
	u64 sum = 0, taken;
	int i;

	for (unsigned long at = 0; at < map->map_size; at += map->desc_size) {
		efi_memory_desc_t *md = (void *)map->map + at;
		u64 size = md->num_pages * EFI_PAGE_SIZE;

		if (md->type != EFI_CONVENTIONAL_MEMORY)
			continue;
		for (i = 0, taken = 0; i < nr_areas; i++) {
			u64 lo = max(areas[i].start, md->phys_addr);
			u64 hi = min(areas[i].end, md->phys_addr + size);

			if (lo < hi)
				taken += hi - lo;
		}
		sum += size - min(size, taken);
	}

	return sum;
}

static void take(u64 start, u64 end)
{
	efi_physical_addr_t addr = round_up(start, EFI_PAGE_SIZE);
	u64 pages;

	end = round_down(end, EFI_PAGE_SIZE);
	if (addr >= end)
		return;
	pages = (end - addr) / EFI_PAGE_SIZE;
	if (efi_bs_call(allocate_pages, EFI_ALLOCATE_ADDRESS, EFI_LOADER_DATA,
			pages, &addr) != EFI_SUCCESS)
		efi_debug("device_coherent: [mem 0x%llx-0x%llx] isn't free\n",
			  start, end - 1);
}

static void keep_out(int first)
{
	struct efi_boot_memmap *map;
	int i;

	if (efi_get_memory_map(&map, false) != EFI_SUCCESS)
		return;

	if (free_elsewhere(map) < MIN_ELSEWHERE) {
		efi_warn("device_coherent: too little memory elsewhere, the kernel may lie in a device's\n");
		nr_areas = 0;
		first = 0;
	}
	for (i = first; i < nr_areas; i++) {
		for (unsigned long at = 0; at < map->map_size; at += map->desc_size) {
			efi_memory_desc_t *md = (void *)map->map + at;

			if (md->type == EFI_CONVENTIONAL_MEMORY)
				take(max(areas[i].start, md->phys_addr),
				     min(areas[i].end, md->phys_addr +
					 md->num_pages * EFI_PAGE_SIZE));
		}
	}
	efi_bs_call(free_pool, map);
}

/*
 * May be called for each parameter of more than one command line, before the stub
 * places anything.
 */
void efi_device_coherent_option(const char *param, const char *val)
{
	int first = nr_areas;

	if (strcmp(param, "device_coherent") || !val)
		return;

	parse_words(val);
	if (nr_areas > first)
		keep_out(first);
}
