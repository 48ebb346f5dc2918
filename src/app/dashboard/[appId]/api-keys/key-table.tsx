"use client";

import {
  columnFilteringFeature,
  createColumnHelper,
  createFilteredRowModel,
  createSortedRowModel,
  globalFilteringFeature,
  rowSortingFeature,
  tableFeatures,
  useTable,
} from "@tanstack/react-table";
import { useMemo, useRef, useState } from "react";
import { Badge } from "#ui/badge.tsx";
import { Menu, MenuItem } from "#ui/menu.tsx";
import { billingModes } from "#ui/request-words.tsx";
import { SearchField } from "#ui/search-field.tsx";
import { SortTh, Table, Td, Th, Tr } from "#ui/table.tsx";
import { Ago, Time } from "#ui/time.tsx";
import { type ApiKey, RevokeDialog, RollDialog } from "./key-dialogs.tsx";

const features = tableFeatures({
  rowSortingFeature,
  sortedRowModel: createSortedRowModel(),
  columnFilteringFeature,
  globalFilteringFeature,
  filteredRowModel: createFilteredRowModel(),
});
const helper = createColumnHelper<typeof features, ApiKey>();

const timeOf = (at: Date | null, without: number) => at?.getTime() ?? without;

const columns = helper.columns([
  helper.accessor("name", { sortFn: (a, b) => a.original.name.localeCompare(b.original.name) }),
  helper.accessor("billingMode", { sortFn: (a, b) => nameOf(a.original).localeCompare(nameOf(b.original)) }),
  helper.accessor((key) => timeOf(key.lastUsedAt, 0), { id: "lastUsed", sortDescFirst: true, sortFn: byNumber }),
  helper.accessor((key) => key.createdAt.getTime(), { id: "created", sortDescFirst: true, sortFn: byNumber }),
  helper.accessor((key) => timeOf(key.expiresAt, Number.POSITIVE_INFINITY), { id: "expires", sortDescFirst: false, sortFn: byNumber }),
]);

const heads = { name: "Name", billingMode: "Who pays", lastUsed: "Last used", created: "Created", expires: "Expires" } as const;
const wide: Partial<Record<string, string>> = {
  billingMode: "hidden sm:table-cell",
  lastUsed: "hidden sm:table-cell",
  created: "hidden lg:table-cell",
  expires: "hidden md:table-cell",
};

type Sorted = { getValue: (id: string) => unknown };
function byNumber(a: Sorted, b: Sorted, id: string): number {
  return Math.sign((a.getValue(id) as number) - (b.getValue(id) as number)) || 0;
}

function nameOf(key: ApiKey): string {
  return billingModes[key.billingMode].name;
}

/** The working keys; they are sorted by column heads, and searched by name, fragment or creator. */
export function KeyTable({ appId, keys }: { appId: string; keys: ApiKey[] }) {
  const data = useMemo(() => keys, [keys]);
  const table = useTable({
    features,
    columns,
    data,
    initialState: { sorting: [{ id: "created", desc: true }] },
    enableSortingRemoval: false,
    globalFilterFn: (row: { original: ApiKey }, _id: string, text: string) => matches(row.original, text),
    getColumnCanGlobalFilter: (column: { id: string }) => column.id === "name",
  });
  const { rows } = table.getRowModel();
  const search = String(table.state.globalFilter ?? "");
  return (
    <>
      {(keys.length > 5 || search !== "") && (
        <SearchField
          label="Find a key"
          placeholder="Name, last letters or maker"
          value={search}
          onChange={(text) => table.setGlobalFilter(text)}
          className="mb-4 sm:max-w-72"
        />
      )}
      {rows.length === 0 ? (
        <p role="status" className="rounded-lg border border-dashed border-line-strong/50 px-6 py-6 text-center text-soft">
          No key that works has “{search}” in its name, its letters or its maker.
        </p>
      ) : (
        <Table label="API keys">
          <thead>
            <tr>
              {table.getHeaderGroups()[0]?.headers.map((header) => (
                <SortTh
                  key={header.id}
                  sorted={header.column.getIsSorted()}
                  onSort={() => header.column.toggleSorting()}
                  className={wide[header.column.id]}
                >
                  {heads[header.column.id as keyof typeof heads]}
                </SortTh>
              ))}
              <Th>
                <span className="sr-only">Actions</span>
              </Th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ original: key }) => (
              <KeyRow key={key.id} appId={appId} apiKey={key} />
            ))}
          </tbody>
        </Table>
      )}
    </>
  );
}

function matches(key: ApiKey, text: string): boolean {
  const sought = text.trim().toLowerCase();
  return [key.name, key.fragment, key.createdBy?.email, key.createdBy?.name].some((each) => each?.toLowerCase().includes(sought));
}

function KeyRow({ appId, apiKey: key }: { appId: string; apiKey: ApiKey }) {
  const [doing, setDoing] = useState<"roll" | "revoke" | null>(null);
  const button = useRef<HTMLButtonElement>(null);
  const Doing = doing === "roll" ? RollDialog : RevokeDialog;
  return (
    <Tr>
      <Td className="max-w-56 sm:max-w-64">
        <span className="block truncate font-medium" title={key.name}>
          {key.name}
        </span>
        <code className="block font-mono text-[0.8125rem] leading-5 text-soft">{key.fragment}</code>
        {key.rolledTo !== null && (
          <span className="mt-1 block">
            <Badge tone="warning">Rolled to …{key.rolledTo.fragment.slice(-4)}</Badge>
          </span>
        )}
        <span className="mt-1 flex flex-wrap gap-x-2 text-sm leading-5 text-soft sm:hidden">
          <Badge>{nameOf(key)}</Badge>
          <span>
            {key.lastUsedAt === null ? (
              "never used"
            ) : (
              <>
                used <Ago at={key.lastUsedAt} />
              </>
            )}
          </span>
        </span>
      </Td>
      <Td className={wide.billingMode}>
        <span title={billingModes[key.billingMode].says}>{nameOf(key)}</span>
      </Td>
      <Td className={`whitespace-nowrap ${wide.lastUsed}`}>
        {key.lastUsedAt === null ? <span className="text-soft">never</span> : <Ago at={key.lastUsedAt} />}
      </Td>
      <Td className={wide.created}>
        <span className="block whitespace-nowrap">
          <Time at={key.createdAt} dateOnly />
        </span>
        <span className="block max-w-40 truncate text-[0.8125rem] leading-5 text-soft" title={key.createdBy?.email}>
          by {key.createdBy?.name ?? key.createdBy?.email ?? "nobody known"}
        </span>
      </Td>
      <Td className={`whitespace-nowrap ${wide.expires}`}>
        {key.expiresAt === null ? <span className="text-soft">never</span> : <Time at={key.expiresAt} />}
      </Td>
      <Td className="text-right">
        <Menu name="Change" label={`Change ${key.name} ${key.fragment.slice(-4)}`} buttonRef={button}>
          {key.rolledTo === null && <MenuItem onSelect={() => setDoing("roll")}>Roll</MenuItem>}
          <MenuItem danger onSelect={() => setDoing("revoke")}>
            Revoke
          </MenuItem>
        </Menu>
        {doing !== null && <Doing appId={appId} apiKey={key} onClose={() => setDoing(null)} returnFocusTo={button} />}
      </Td>
    </Tr>
  );
}
