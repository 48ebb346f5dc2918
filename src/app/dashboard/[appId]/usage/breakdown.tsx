import Link from "next/link";
import { grouped } from "#money";
import { caller } from "#server/trpc/caller.ts";
import { SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { segmentLook, segmentsLook } from "#ui/segment-look.ts";
import { Table, Td, Th, Tr } from "#ui/table.tsx";
import { queryOf, type UsageFilters } from "./filters.ts";

export type BreakdownBy = "model" | "user" | "key";

const heads: Record<BreakdownBy, string> = { model: "Model", user: "External user id", key: "API key" };

/** Usage of the whole period by model, user or key, largest amount first. Each line links to the screen filtered by it. */
export async function Breakdown({ appId, filters, by }: { appId: string; filters: UsageFilters; by: BreakdownBy }) {
  const sandbox = filters.sandbox ?? false;
  const { items, more } = await (await caller()).usage.breakdown({ appId, period: filters.period, sandbox, by });
  const here = `/dashboard/${appId}/usage`;
  const narrowedTo = (group: string | null) => {
    const address = (narrower: Partial<UsageFilters>) => `${here}${queryOf({ ...filters, ...narrower }, by === "model" ? {} : { by })}`;
    if (by === "model") return address({ model: group ?? undefined });
    if (by === "key") return address({ apiKeyId: group ?? "tokens" });
    return group === null ? null : address({ externalUserId: group });
  };
  return (
    <>
      <SectionHeading
        action={
          <nav aria-label="Broken down by" className={segmentsLook}>
            {(["model", "user", "key"] as const).map((each) => (
              <Link
                key={each}
                href={`${here}${queryOf(filters, each === "model" ? {} : { by: each })}`}
                scroll={false}
                aria-current={each === by ? "true" : undefined}
                className={segmentLook(each === by)}
              >
                {{ model: "Model", user: "User", key: "Key" }[each]}
              </Link>
            ))}
          </nav>
        }
      >
        Where it comes from
      </SectionHeading>
      {items.length === 0 ? (
        <p className="rounded-lg border border-dashed border-line-strong/50 px-6 py-6 text-center text-soft">Nothing in this period.</p>
      ) : (
        <Table label="Where it comes from">
          <thead>
            <tr>
              <Th>{heads[by]}</Th>
              <Th numeric>Requests</Th>
              <Th numeric className="hidden sm:table-cell">
                Failed
              </Th>
              <Th numeric className="hidden md:table-cell">
                Tokens
              </Th>
              <Th numeric>Cost</Th>
              <Th numeric className="hidden sm:table-cell">
                Earned
              </Th>
            </tr>
          </thead>
          <tbody>
            {items.map((item) => {
              const href = narrowedTo(item.group);
              const name = <Name by={by} item={item} />;
              return (
                <Tr key={item.group ?? ""}>
                  <Td className="max-w-40 sm:max-w-64">
                    {href === null ? (
                      name
                    ) : (
                      <Link
                        href={href}
                        scroll={false}
                        title={by === "key" ? undefined : (item.group ?? undefined)}
                        className="prose-link block truncate"
                      >
                        {name}
                      </Link>
                    )}
                  </Td>
                  <Td numeric>{grouped(item.requests)}</Td>
                  <Td numeric className="hidden sm:table-cell">
                    {grouped(item.failed)}
                  </Td>
                  <Td numeric className="hidden md:table-cell">
                    {grouped(item.promptTokens + item.completionTokens)}
                  </Td>
                  <Td numeric>
                    <Money credits={item.base + item.markup} />
                  </Td>
                  <Td numeric className="hidden sm:table-cell">
                    <Money credits={item.markup} />
                  </Td>
                </Tr>
              );
            })}
          </tbody>
        </Table>
      )}
      <p className="mt-2 text-sm text-soft">
        {more ? `The ${items.length} that cost most; ` : ""}
        {more ? "of" : "Of"} the whole period, whatever is filtered.
      </p>
    </>
  );
}

function Name({ by, item }: { by: BreakdownBy; item: { group: string | null; key: { name: string; fragment: string } | null } }) {
  if (by === "user" && item.group === null) return <span className="text-soft">No user: paid by you</span>;
  if (by !== "key") return <span className="font-mono text-[0.8125rem]">{item.group}</span>;
  if (item.group === null) return "User access tokens";
  if (item.key === null) return "A key that was removed";
  return (
    <>
      {item.key.name} <code className="font-mono text-[0.8125rem] text-soft">{item.key.fragment}</code>
    </>
  );
}
