"use client";

import Link from "next/link";
import { usePathname } from "next/navigation";
import { useRef, useState } from "react";
import { type Answers, failureOf, trpc } from "#trpc/client.tsx";
import { Button } from "#ui/button.tsx";
import { EmptyState, Fact, Facts } from "#ui/card.tsx";
import { CodeBlock } from "#ui/code-block.tsx";
import { CopyBox } from "#ui/copy-box.tsx";
import { type Column, DataTable, opener } from "#ui/data-table.tsx";
import { Dialog, DialogActions } from "#ui/dialog.tsx";
import { FormError, SelectField } from "#ui/field.tsx";
import { FormBody } from "#ui/form-body.tsx";
import { OlderButton } from "#ui/older-button.tsx";
import { Loading } from "#ui/skeleton.tsx";
import { Time } from "#ui/time.tsx";
import { type Delivery, DeliveryState, deliveryStates, type EventTypes } from "../states.tsx";

type Page = Answers["webhooks"]["deliveries"];
type EventType = EventTypes[number]["type"];
type Filters = { status?: "pending" | "succeeded" | "failed" | undefined; type?: EventType | undefined };
type Props = { appId: string; endpoint: { id: string; disabled: boolean }; first: Page; filters: Filters; types: EventType[] };

const LOOK_EVERY_MS = 2_000;

const columns: Column<Delivery>[] = [
  {
    id: "time",
    header: "Time",
    cellClassName: "whitespace-nowrap",
    cell: (delivery) => (
      <button
        type="button"
        {...opener}
        className="rounded-sm underline decoration-line-strong/60 underline-offset-4"
        aria-haspopup="dialog"
      >
        <Time at={delivery.createdAt} />
      </button>
    ),
  },
  { id: "event", header: "Event", cellClassName: "font-mono text-[0.8125rem]", cell: (delivery) => delivery.type },
  {
    id: "answer",
    header: "Answer",
    className: "hidden sm:table-cell",
    cellClassName: "max-w-64 truncate text-soft",
    cell: (delivery) => <span title={answerOf(delivery)}>{answerOf(delivery)}</span>,
  },
  { id: "state", header: "State", cell: (delivery) => <DeliveryState delivery={delivery} /> },
];

/** Deliveries to one endpoint, newest first; while one is pending, the list is polled. */
export function DeliveryLog({ appId, endpoint, first, filters, types }: Props) {
  const [shown, setShown] = useState<string | null>(null);
  const openedBy = useRef<HTMLElement>(null);
  const here = usePathname();
  const log = trpc.webhooks.deliveries.useInfiniteQuery(
    { appId, endpointId: endpoint.id, ...filters },
    {
      initialData: { pages: [first], pageParams: [null] },
      getNextPageParam: (page) => page.next,
      refetchInterval: ({ state }) => (state.data?.pages.some((page) => page.items.some(isOnItsWay)) ? LOOK_EVERY_MS : false),
    },
  );
  const items = log.data?.pages.flatMap((page) => page.items) ?? [];
  const filtered = filters.status !== undefined || filters.type !== undefined;
  return (
    <>
      {(items.length > 0 || filtered) && (
        <form action={here} className="mb-4">
          <FormBody className="grid grid-cols-2 items-end gap-3 sm:grid-cols-[minmax(0,14rem)_minmax(0,14rem)_auto]">
            <SelectField label="State" name="status" defaultValue={filters.status ?? ""}>
              <option value="">All states</option>
              {deliveryStates.map(({ status, name }) => (
                <option key={status} value={status}>
                  {name}
                </option>
              ))}
            </SelectField>
            <SelectField label="Event" name="type" defaultValue={filters.type ?? ""}>
              <option value="">All events</option>
              {types.map((type) => (
                <option key={type}>{type}</option>
              ))}
            </SelectField>
            <div className="flex gap-2 max-sm:col-span-full">
              <Button type="submit">Filter</Button>
              {filtered && (
                <Button asChild kind="quiet">
                  <Link href={here}>Clear</Link>
                </Button>
              )}
            </div>
          </FormBody>
        </form>
      )}
      {log.isError && !log.isFetchNextPageError && (
        <FormError>The newest deliveries did not arrive. They are asked for again by themselves.</FormError>
      )}
      {items.length === 0 ? (
        <EmptyState title={filtered ? "No delivery matches" : "Nothing was sent yet"}>
          <p>{filtered ? "Choose another state or event." : "Send a test event, or wait until something happens."}</p>
        </EmptyState>
      ) : (
        <DataTable
          label="Deliveries"
          columns={columns}
          items={items}
          idOf={(delivery) => delivery.id}
          onOpen={(delivery, opener) => {
            openedBy.current = opener;
            setShown(delivery.id);
          }}
        />
      )}
      <OlderButton
        more={log.hasNextPage}
        state={log.isFetchNextPageError ? "failed" : log.isFetchingNextPage ? "loading" : "ready"}
        showOlder={() => void log.fetchNextPage()}
      />
      <Dialog open={shown !== null} onOpenChange={(open) => !open && setShown(null)} title="Delivery" returnFocusTo={openedBy}>
        {shown !== null && <DeliveryRecord appId={appId} endpoint={endpoint} deliveryId={shown} />}
      </Dialog>
    </>
  );
}

function isOnItsWay(delivery: Delivery): boolean {
  return delivery.status === "pending";
}

function answerOf(delivery: Pick<Delivery, "lastResponseStatus" | "lastError" | "attempts">): string {
  if (delivery.lastError !== null) return delivery.lastError;
  if (delivery.lastResponseStatus !== null) return String(delivery.lastResponseStatus);
  return delivery.attempts === 0 ? "not asked yet" : "none";
}

/** One delivery's body, and the outcome of each attempt. */
function DeliveryRecord({ appId, endpoint, deliveryId }: { appId: string; endpoint: Props["endpoint"]; deliveryId: string }) {
  const utils = trpc.useUtils();
  const ids = { appId, endpointId: endpoint.id, deliveryId };
  const record = trpc.webhooks.delivery.useQuery(ids, {
    refetchInterval: ({ state }) => (state.data !== undefined && isOnItsWay(state.data) ? LOOK_EVERY_MS : false),
  });
  const retry = trpc.webhooks.retry.useMutation({
    onSuccess: () => Promise.all([utils.webhooks.delivery.invalidate(ids), utils.webhooks.deliveries.invalidate()]),
  });
  const failure = failureOf(retry.error ?? record.error);
  const delivery = record.data;
  if (delivery === undefined) {
    if (failure.message === null) return <Loading rows={4} />;
    return (
      <>
        <FormError>{failure.message}</FormError>
        <DialogActions>
          <Button onClick={() => void record.refetch()} unavailable={record.isFetching}>
            {record.isFetching ? "Loading" : "Try again"}
          </Button>
        </DialogActions>
      </>
    );
  }
  return (
    <div className="space-y-4">
      {failure.message !== null && <FormError>{failure.message}</FormError>}
      <Facts>
        <Fact name="State">
          <DeliveryState delivery={delivery} />
        </Fact>
        <Fact name="Event">
          <code className="font-mono text-[0.8125rem]">{delivery.type}</code>
        </Fact>
        {/* A retry resets `attempts`; earlier attempts are still in `tries`. */}
        <Fact name="Attempts">{Math.max(delivery.attempts, delivery.tries.length)}</Fact>
        {delivery.nextAttemptAt !== null && delivery.attempts > 0 && (
          <Fact name="Next attempt">
            <Time at={delivery.nextAttemptAt} />
          </Fact>
        )}
      </Facts>
      <CopyBox label="Delivery id" text={delivery.id} />
      {delivery.body !== null && (
        <section>
          <h3 className="mb-1.5 text-sm font-medium">What was sent</h3>
          <CodeBlock label="Body" className="max-h-64 overflow-y-auto border border-line bg-sunken">
            {JSON.stringify(JSON.parse(delivery.body), null, 2)}
          </CodeBlock>
        </section>
      )}
      {delivery.tries.length > 0 && (
        <section>
          <h3 className="mb-1.5 text-sm font-medium">Attempts, newest first</h3>
          <ul className="space-y-2">
            {delivery.tries.map((attempt) => (
              <li key={attempt.id} className="rounded-md border border-line">
                <details>
                  <summary className="flex cursor-pointer flex-wrap items-center gap-x-3 px-3 py-2 text-sm">
                    <Time at={attempt.startedAt} />
                    <span className="min-w-0 flex-1 truncate">{attempt.error ?? `answered ${attempt.responseStatus}`}</span>
                    <span className="text-soft tabular-nums">{attempt.durationMs} ms</span>
                  </summary>
                  <div className="space-y-3 border-t border-line p-3">
                    <CodeBlock label="Request headers" className="border border-line bg-sunken p-3">
                      {Object.entries(attempt.requestHeaders)
                        .map(([name, value]) => `${name}: ${value}`)
                        .join("\n")}
                    </CodeBlock>
                    {attempt.responseBody !== null && attempt.responseBody !== "" && (
                      <CodeBlock label="Answer" className="max-h-40 overflow-y-auto border border-line bg-sunken p-3">
                        {attempt.responseBody}
                      </CodeBlock>
                    )}
                  </div>
                </details>
              </li>
            ))}
          </ul>
        </section>
      )}
      <div className="flex justify-end">
        <Button
          kind={delivery.status === "failed" ? "primary" : "secondary"}
          onClick={() => retry.mutate(ids)}
          unavailable={retry.isPending}
          disabled={endpoint.disabled}
          title={endpoint.disabled ? "The endpoint is disabled. Enable it first." : undefined}
        >
          {retry.isPending ? "Asking for it" : "Send it again now"}
        </Button>
      </div>
    </div>
  );
}
