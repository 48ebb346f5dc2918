"use client";

import { createColumnHelper, type RowData, tableFeatures, useTable } from "@tanstack/react-table";
import { type KeyboardEvent, type ReactNode, useMemo } from "react";
import { Table, Td, Th, Tr } from "./table.tsx";

export type Column<Item> = {
  id: string;
  header: ReactNode;
  cell: (item: Item) => ReactNode;
  numeric?: boolean;
  /** For the column's head and cells, such as the width from which the column is shown. */
  className?: string;
  cellClassName?: string;
};

type Props<Item> = {
  label: string;
  /** A constant, or memoized: a new array rebuilds the table. */
  columns: readonly Column<Item>[];
  items: Item[];
  idOf: (item: Item) => string;
  /**
   * Called on a click anywhere in a row. One cell of each row has a button or link marked with
   * `opener`, which does the same for keyboards and screen readers.
   */
  onOpen?: (item: Item, opener: HTMLElement | null) => void;
};

const features = tableFeatures({});

/** Marks the button or link of a row that has the keyboard's focus. */
export const opener = { "data-opener": "" } as const;

/**
 * A table with keyboard navigation: arrow keys, Home and End move between rows, Enter opens one.
 */
export function DataTable<Item extends RowData & object>({ label, columns, items, idOf, onOpen }: Props<Item>) {
  const tableColumns = useMemo(() => {
    const helper = createColumnHelper<typeof features, Item>();
    return columns.map((column) =>
      helper.display({ id: column.id, header: () => column.header, cell: ({ row }) => column.cell(row.original) }),
    );
  }, [columns]);
  const table = useTable({ features, columns: tableColumns, data: items, getRowId: idOf });
  const lookOf = new Map(columns.map((column) => [column.id, column]));
  return (
    <Table label={label}>
      <thead>
        {table.getHeaderGroups().map((group) => (
          <tr key={group.id}>
            {group.headers.map((header) => {
              const look = lookOf.get(header.column.id);
              return (
                <Th key={header.id} numeric={look?.numeric} className={look?.className}>
                  <table.FlexRender header={header} />
                </Th>
              );
            })}
          </tr>
        ))}
      </thead>
      <tbody onKeyDown={walk}>
        {table.getRowModel().rows.map((row) => (
          // The row's click is a larger target for the pointer; keyboards and screen readers use the opener in it.
          <Tr
            key={row.id}
            className={onOpen && "cursor-pointer hover:bg-sunken/60 has-[[data-opener]:focus-visible]:bg-sunken/60"}
            onClick={(event) => {
              if (onOpen && !(event.target as Element).closest("a"))
                onOpen(row.original, event.currentTarget.querySelector<HTMLElement>("[data-opener]"));
            }}
          >
            {row.getAllCells().map((cell) => {
              const look = lookOf.get(cell.column.id);
              return (
                <Td key={cell.id} numeric={look?.numeric} className={[look?.className, look?.cellClassName].filter(Boolean).join(" ")}>
                  <table.FlexRender cell={cell} />
                </Td>
              );
            })}
          </Tr>
        ))}
      </tbody>
    </Table>
  );
}

function walk(event: KeyboardEvent<HTMLTableSectionElement>): void {
  const openers = [...event.currentTarget.querySelectorAll("[data-opener]")];
  const at = openers.indexOf(event.target as Element);
  if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: openers.length - 1 }[event.key];
  const next = to === undefined ? undefined : openers[to];
  if (next === undefined) return;
  event.preventDefault();
  (next as HTMLElement).focus();
}
