"use client";

import Link from "next/link";
import { useParams } from "next/navigation";
import { Button } from "#ui/button.tsx";

/** A page that is not found is not told of which app. */
export function ToOverview() {
  const { appId } = useParams<{ appId: string }>();
  return (
    <Button asChild>
      <Link href={`/dashboard/${appId}`}>Overview</Link>
    </Button>
  );
}
