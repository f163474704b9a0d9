import { until } from '../../kit/until.ts'
import { accountingRecordSchema } from '../../wire/accounting.ts'
import type { AccountingRecord } from '../../core/accounting.ts'
import type { Farm } from '../harness/farm.ts'

/** Our accounting record of a job, which comes when its VWN is clean again. */
export const accountOf = (farm: Farm, batchJob: string): Promise<AccountingRecord> =>
  until(async () => {
    const { stdout } = await farm.cli(['accounting', '--format', 'jsonl'])
    const records = stdout.trimEnd().split('\n').map((line) => accountingRecordSchema.parse(JSON.parse(line)))
    return records.find(({ batchJobId }) => batchJobId === batchJob) ?? null
  }, { withinMs: 60_000, everyMs: 500, what: `our accounting record of job ${batchJob}` })
