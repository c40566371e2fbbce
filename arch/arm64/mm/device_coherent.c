// SPDX-License-Identifier: GPL-2.0
/*
 * What arm64 has to do for device memory that is registered at boot, for
 * mm/device_coherent/boot.c: the linear map, CPUs of a node, what the firmware
 * marks.
 */
#include <linux/acpi.h>
#include <linux/device_coherent_hooks.h>
#include <linux/efi.h>
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/pgtable.h>

#include <asm/tlbflush.h>

static int __init clear_pte(pte_t *ptep, unsigned long addr, void *data)
{
	pte_clear(&init_mm, addr, ptep);

	return 0;
}

static bool __init is_empty(const void *table)
{
	return !memchr_inv(table, 0, PAGE_SIZE);
}

static void __init free_table(const void *table)
{
	memblock_phys_free(__pa(table), PAGE_SIZE);
}

/*
 * Hotplug makes tables from pages of the system, and gives what it empties back to
 * it. Those of boot aren't such: where nothing else is mapped, none may be left.
 */
static void __init free_tables(unsigned long addr)
{
	pgd_t *pgdp = pgd_offset_k(addr);
	p4d_t *p4dp;
	pud_t *pudp;
	pmd_t *pmdp;
	const void *table;

	if (pgd_none(READ_ONCE(*pgdp)))
		return;
	p4dp = p4d_offset(pgdp, addr);
	if (p4d_none(READ_ONCE(*p4dp)))
		return;
	pudp = pud_offset(p4dp, addr);
	if (pud_none(READ_ONCE(*pudp)))
		return;
	pmdp = pmd_offset(pudp, addr);
	if (pmd_none(READ_ONCE(*pmdp)))
		return;

	table = (void *)pmd_page_vaddr(READ_ONCE(*pmdp));
	pmd_clear(pmdp);
	free_table(table);

	table = PTR_ALIGN_DOWN(pmdp, PAGE_SIZE);
	if (CONFIG_PGTABLE_LEVELS < 3 || !is_empty(table))
		return;
	pud_clear(pudp);
	free_table(table);

	table = PTR_ALIGN_DOWN(pudp, PAGE_SIZE);
	if (!pgtable_l4_enabled() || !is_empty(table))
		return;
	p4d_clear(p4dp);
	free_table(table);

	table = PTR_ALIGN_DOWN(p4dp, PAGE_SIZE);
	if (!pgtable_l5_enabled() || !is_empty(table))
		return;
	pgd_clear(pgdp);
	free_table(table);
}

/*
 * Out of the linear map until it is added; map_mem() made it of single pages, as
 * nobody knew yet where it ends. What the firmware marks was never mapped. And zones
 * are sized by the end of memory: none is there for a device (invariant 3).
 */
void __init arch_device_coherent_claim(u64 start, u64 size, u64 piece)
{
	unsigned long first = __phys_to_virt(PAGE_ALIGN(start));
	unsigned long last = __phys_to_virt(PAGE_ALIGN_DOWN(start + size));
	unsigned long addr;

	apply_to_existing_page_range(&init_mm, first, last - first, clear_pte,
				     NULL);
	for (addr = ALIGN(first, PMD_SIZE); addr + PMD_SIZE <= last;
	     addr += PMD_SIZE)
		free_tables(addr);
	flush_tlb_all();

	max_pfn = PFN_DOWN(memblock_end_of_DRAM());
	max_low_pfn = max_pfn;
}

#ifdef CONFIG_ACPI_NUMA
static nodemask_t *gicc_nodes __initdata;

static int __init add_gicc(union acpi_subtable_headers *header,
			   const unsigned long end)
{
	struct acpi_srat_gicc_affinity *gicc = (void *)header;
	int nid = pxm_to_node(gicc->proximity_domain);

	if ((gicc->flags & ACPI_SRAT_GICC_ENABLED) && nid != NUMA_NO_NODE)
		node_set(nid, *gicc_nodes);

	return 0;
}

static void __init cpu_nodes_acpi(nodemask_t *nodes)
{
	gicc_nodes = nodes;
	acpi_table_parse_entries(ACPI_SIG_SRAT, sizeof(struct acpi_table_srat),
				 ACPI_SRAT_TYPE_GICC_AFFINITY, add_gicc, 0);
}
#else
static void __init cpu_nodes_acpi(nodemask_t *nodes) { }
#endif

/* CPUs are told their nodes later, in smp_init_cpus(). */
void __init arch_device_coherent_cpu_nodes(nodemask_t *nodes)
{
	struct device_node *np;
	u32 nid;

	if (!acpi_disabled) {
		cpu_nodes_acpi(nodes);
		return;
	}
	for_each_of_cpu_node(np)
		if (!of_property_read_u32(np, "numa-node-id", &nid) &&
		    nid < MAX_NUMNODES)
			node_set(nid, *nodes);
}

/* efi_init() has left it out of memblock. */
bool __init arch_device_coherent_next_sp(u64 *start, u64 *size)
{
	efi_memory_desc_t *md;

	if (!efi_enabled(EFI_MEMMAP) || !efi_soft_reserve_enabled())
		return false;

	for_each_efi_memory_desc(md) {
		if (md->type != EFI_CONVENTIONAL_MEMORY ||
		    !(md->attribute & EFI_MEMORY_SP) ||
		    md->phys_addr < *start)
			continue;
		*start = md->phys_addr;
		*size = md->num_pages << EFI_PAGE_SHIFT;
		return true;
	}

	return false;
}
