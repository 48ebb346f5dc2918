import type { Metadata } from "next";
import Link from "next/link";
import { Suspense } from "react";
import { grouped } from "#money";
import { requireUser } from "#server/people/auth.ts";
import { appOfPage, caller } from "#server/trpc/caller.ts";
import { Button } from "#ui/button.tsx";
import { Card, EmptyState, Figure, Figures } from "#ui/card.tsx";
import { SelectField, TextField } from "#ui/field.tsx";
import { PageHeading, SectionHeading } from "#ui/heading.tsx";
import { Money } from "#ui/money.tsx";
import { PeriodLinks } from "#ui/period-links.tsx";
import { Loading, Skeleton } from "#ui/skeleton.tsx";
import { UsageChart } from "#ui/usage-chart.tsx";
import { Breakdown, type BreakdownBy } from "./breakdown.tsx";
import { filtersOf, isNarrowed, logOf, queryOf, type UsageFilters } from "./filters.ts";
import { RequestLog } from "./request-log.tsx";

type Props = { params: Promise<{ appId: string }>; searchParams: Promise<Record<string, string | string[] | undefined>> };

export const metadata: Metadata = { title: "Usage" };

export default async function Usage({ params, searchParams }: Props) {
  const { appId } = await params;
  const asked = await searchParams;
  const filters = filtersOf(asked);
  const by: BreakdownBy = asked.by === "user" || asked.by === "key" ? asked.by : "model";
  const query = queryOf(filters);
  await requireUser(`/dashboard/${appId}/usage${query}`);
  const app = await appOfPage(appId);
  const here = `/dashboard/${app.id}/usage`;
  return (
    <>
      <PageHeading
        title="Usage"
        action={<PeriodLinks current={filters.period} hrefOf={(period) => `${here}${queryOf({ ...filters, period }, byOf(by))}`} />}
      >
        Days and hours are UTC.
      </PageHeading>
      <Suspense key={query + by} fallback={<LoadingUsage />}>
        <Content appId={app.id} filters={filters} by={by} />
      </Suspense>
    </>
  );
}

const byOf = (by: BreakdownBy): Record<string, string> => (by === "model" ? {} : { by });

function LoadingUsage() {
  return (
    <>
      <Skeleton className="mb-4 h-40" />
      <Skeleton className="mb-6 h-96" />
      <Loading rows={8} />
    </>
  );
}

async function Content({ appId, filters, by }: { appId: string; filters: UsageFilters; by: BreakdownBy }) {
  const api = await caller();
  const { period, model, externalUserId, apiKeyId, sandbox } = filters;
  const [choices, report, first] = await Promise.all([
    api.usage.choices({ appId }),
    api.usage.report({ appId, period, model, externalUserId, apiKeyId, sandbox: sandbox ?? false }),
    api.usage.requests({ appId, ...logOf(filters) }),
  ]);
  const here = `/dashboard/${appId}/usage`;
  const narrowed = isNarrowed(filters);
  if (choices.models.length === 0 && first.items.length === 0 && !narrowed) {
    return (
      <EmptyState
        title="No requests yet"
        action={
          <Button asChild kind="primary">
            <Link href={`/dashboard/${appId}/get-started`}>Get started</Link>
          </Button>
        }
      >
        <p>Every request that your server sends with one of this app's keys is listed here, with what it cost and who paid.</p>
      </EmptyState>
    );
  }
  const { totals } = report;
  return (
    <>
      <Filters here={here} filters={filters} choices={choices} narrowed={narrowed} />
      <Card>
        <Figures className="rounded-b-none border-b border-line">
          <Figure label="Requests" note={totals.failed > 0 ? `and ${grouped(totals.failed)} failed` : "none failed"}>
            {grouped(totals.requests)}
          </Figure>
          <Figure label="Tokens" note={`${grouped(totals.promptTokens)} in, ${grouped(totals.completionTokens)} out`}>
            {grouped(totals.promptTokens + totals.completionTokens)}
          </Figure>
          <Figure label="Cost to payers" note="price and markup">
            <Money credits={totals.base + totals.markup} />
          </Figure>
          <Figure label={sandbox ? "Markup, in play credits" : "Earned by you"} note="the markup">
            <Money credits={totals.markup} />
          </Figure>
        </Figures>
        <div className="p-4 sm:p-5">
          <UsageChart steps={report.steps} show={["cost", "earnings", "requests", "tokens"]} tall />
        </div>
      </Card>
      <p className="mt-2 text-sm text-soft">
        {sandbox ? "Play credits of sandbox keys only." : "Requests with real credits; the sandbox's have figures of their own."}
        {(filters.outcome !== undefined || filters.requestId !== undefined) &&
          " Outcome and request id narrow the list below, not the figures."}
      </p>

      <Suspense key={by} fallback={<Skeleton className="mt-10 h-56" />}>
        <Breakdown appId={appId} filters={filters} by={by} />
      </Suspense>

      <SectionHeading
        id="requests"
        action={
          <Button asChild size="small">
            <a href={`${here}/requests.csv${queryOf(filters)}`} download>
              Download CSV
            </a>
          </Button>
        }
      >
        Requests
      </SectionHeading>
      <RequestLog appId={appId} first={first} filters={filters} />
    </>
  );
}

type Choices = { models: string[]; keys: { id: string; name: string; fragment: string }[]; tokens: boolean };

function Filters({ here, filters, choices, narrowed }: { here: string; filters: UsageFilters; choices: Choices; narrowed: boolean }) {
  const { period, model } = filters;
  const models = model === undefined || choices.models.includes(model) ? choices.models : [model, ...choices.models];
  return (
    <search>
      {/* The key remounts the form when the address changes, so that its fields show the address's filters. */}
      <form key={queryOf(filters)} action={here} className="mb-4 grid grid-cols-2 items-end gap-3 md:grid-cols-3 lg:grid-cols-4">
        {period !== "30d" && <input type="hidden" name="period" value={period} />}
        <SelectField label="Model" name="model" defaultValue={model ?? ""}>
          <option value="">All models</option>
          {models.map((each) => (
            <option key={each}>{each}</option>
          ))}
        </SelectField>
        <TextField
          label="External user id"
          name="external_user_id"
          defaultValue={filters.externalUserId}
          maxLength={255}
          autoComplete="off"
          placeholder="user_123"
        />
        <SelectField label="API key" name="key" defaultValue={filters.apiKeyId ?? ""}>
          <option value="">All keys</option>
          {choices.keys.map((key) => (
            <option key={key.id} value={key.id}>
              {key.name} ({key.fragment})
            </option>
          ))}
          {(choices.tokens || filters.apiKeyId === "tokens") && <option value="tokens">User access tokens</option>}
        </SelectField>
        <TextField
          label="Request id"
          name="request_id"
          defaultValue={filters.requestId}
          maxLength={64}
          autoComplete="off"
          spellCheck={false}
          placeholder="req_…"
        />
        <SelectField
          label="Credits"
          name="credits"
          defaultValue={filters.sandbox === undefined ? "" : filters.sandbox ? "sandbox" : "real"}
        >
          <option value="">All</option>
          <option value="real">Real</option>
          <option value="sandbox">Sandbox</option>
        </SelectField>
        <SelectField label="Outcome" name="outcome" defaultValue={filters.outcome ?? ""}>
          <option value="">All</option>
          <option value="billed">Billed</option>
          <option value="failed">Failed</option>
        </SelectField>
        <div className="flex gap-2 max-lg:col-span-full">
          <Button type="submit">Filter</Button>
          {narrowed && (
            <Button asChild kind="quiet">
              <Link href={`${here}${queryOf({ period })}`}>Clear</Link>
            </Button>
          )}
        </div>
      </form>
    </search>
  );
}
