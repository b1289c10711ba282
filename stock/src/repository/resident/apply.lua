-- Applies requests to resident records, one after another and each all or nothing, and journals what was done.
-- The rules are those of `levels` and `hold`; a test holds them against each other.
--
-- KEYS: journal, state, then the hash of each record; a record's holds are beside it under `:holds`.
-- ARGV: run_id of this server, most unflushed changes, records, requests, prefix of the keys of request ids.
--   records  [[variant, warehouse, epoch], …], epoch as text
--   requests [[id, generation, [[record, operation, quantity, order, expires in, ended sequence], …]], …]
-- Answers {'unusable', record}, {'diverged', record, why}, {'full'}, or {'done', generation, verdicts, figures before, notes}, with one verdict
-- for each request: y done, n refused, s seen before, l look for it in the database again; and a note for each that
-- is not y.

local MAX = 9007199254740991
local records, requests = cjson.decode(ARGV[3]), cjson.decode(ARGV[4])
local state = redis.call('HMGET', KEYS[2], 'generation', 'backlog')
local generation = tonumber(state[1] or '0')

local function text(number)
  if number < 1e14 then return tostring(number) end
  return string.format('%.0f', number)
end

local AVAILABLE, LOCKED, RESERVED, HELD_LOCKED, HELD_RESERVED, VERSION, SEQUENCE = 1, 2, 3, 4, 5, 6, 7

local rows, before = {}, {}
for i, record in ipairs(records) do
  local h = redis.call('HMGET', KEYS[2 + i], 'available_stock', 'locked_stock', 'reserved_stock', 'held_locked',
    'held_reserved', 'version', 'sequence', 'epoch', 'run_id', 'closing', 'diverged')
  if h[8] ~= record[3] or h[9] ~= ARGV[1] or h[10] then return {'unusable', i - 1} end
  if h[11] then return {'diverged', i - 1, h[11]} end
  local row = {}
  for n = 1, 7 do
    row[n] = tonumber(h[n])
    before[#before + 1] = h[n]
  end
  row.first = row[SEQUENCE]
  row.orders = {}
  rows[i] = row
end
if tonumber(state[2] or '0') >= tonumber(ARGV[2]) then return {'full'} end

-- locked, reserved, state, sequence at which its expiry was set or -1, sequence of its last change; or false.
-- States: o open, c closed, x expired as a whole; p and q are o and c where what was not paid in time has been unlocked
-- and nothing has been locked since.
local function hold_of(index, order)
  local hold = rows[index].orders[order]
  if hold == nil then
    local packed = redis.call('HGET', KEYS[2 + index] .. ':holds', order)
    hold = false
    if packed then
      local l, r, s, e, n = string.match(packed, '^(%d+) (%d+) (%a) (%-?%d+) (%d+)$')
      hold = {tonumber(l), tonumber(r), s, tonumber(e), tonumber(n)}
    end
    rows[index].orders[order] = hold
  end
  return hold
end

-- The levels after an operation; or nothing, and why not.
local function moved(row, operation, q)
  local a, l, r = row[AVAILABLE], row[LOCKED], row[RESERVED]
  if operation == 0 then
    if a < q then return nil, 'S ' .. text(a) end
    return a - q, l + q, r
  elseif operation == 1 or operation == 2 then
    if l < q then return nil, 'L ' .. text(l) end
    if operation == 1 then return a + q, l - q, r end
    return a, l - q, r + q
  elseif operation == 3 or operation == 4 then
    if r < q then return nil, 'R ' .. text(r) end
    if operation == 3 then return a + q, l, r - q end
    return a, l, r - q
  elseif operation == 5 then
    if q > MAX - (a + l + r) then return nil, 'O ' .. text(a + l + r) end
    return a + q, l, r
  end
  if q < l + r then return nil, 'B ' .. text(l) .. ' ' .. text(r) end
  return q - l - r, l, r
end

-- Units held after an order's operation; nothing if more is asked for than is held.
local function moved_held(l, r, operation, q)
  if operation == 0 then return l + q, r end
  if operation == 1 or operation == 2 then
    if l < q then return nil end
    if operation == 1 then return l - q, r end
    return l - q, r + q
  end
  if r < q then return nil end
  return l, r - q
end

-- More was asked for than is held, or than is held any more.
local function exceeded(hold, operation)
  if (hold[3] == 'p' or hold[3] == 'q') and (operation == 1 or operation == 2) then return 'X' end
  return 'E ' .. text((operation == 3 or operation == 4) and hold[2] or hold[1])
end

-- The hold after an order's operation; or nothing, and why not.
local function held_after(hold, change, sequence)
  local operation, q, expires, ended = change[2], change[3], change[5], change[6]
  expires = type(expires) == 'number'
  ended = type(ended) == 'number' and ended or nil
  if not hold or (hold[3] ~= 'o' and hold[3] ~= 'p') then
    if operation ~= 0 then
      if not hold then return nil, 'N' end
      if ended then return nil, 'C' end
      if hold[3] == 'x' then return nil, 'X' end
      return nil, exceeded(hold, operation)
    end
    return {q, 0, 'o', expires and sequence or -1, sequence}
  end
  if ended and (hold[4] < 0 or hold[4] > ended or hold[1] ~= q) then return nil, 'C' end
  local l, r = moved_held(hold[1], hold[2], operation, q)
  if not l then return nil, exceeded(hold, operation) end
  local lapsed = ended or (hold[3] == 'p' and operation ~= 0)
  local status
  if l > 0 or r > 0 then
    status = lapsed and 'p' or 'o'
  else
    status = ended and 'x' or (lapsed and 'q' or 'c')
  end
  local expiry = hold[4]
  if l == 0 then expiry = -1 elseif expires then expiry = sequence end
  return {l, r, status, expiry, sequence}
end

-- Makes a change, or says why not.
local function step(change, undo)
  local row, operation, q, order = rows[change[1] + 1], change[2], change[3], change[4]
  local sequence = row[SEQUENCE] + 1
  local hl, hr = row[HELD_LOCKED], row[HELD_RESERVED]
  local hold, new_hold
  local with_hold = type(order) == 'string' and operation < 5
  if with_hold then
    hold = hold_of(change[1] + 1, order)
    local why
    new_hold, why = held_after(hold, change, sequence)
    if not new_hold then return why end
  end
  local a, l, r = moved(row, operation, q)
  if not a then return l end
  if with_hold then
    hl, hr = moved_held(hl, hr, operation, q)
    if not hl or hl > l or hr > r then return 'O ' .. text(a + l + r) .. ' ' .. text(MAX) end
  elseif hl > l or hr > r then
    if operation == 3 or operation == 4 then return 'J ' .. text(row[RESERVED]) .. ' ' .. text(hr) end
    return 'H ' .. text(row[LOCKED]) .. ' ' .. text(hl)
  end
  if undo then
    undo[#undo + 1] = {row, order, hold, with_hold, row[1], row[2], row[3], row[4], row[5], row[6], row[7]}
  end
  row[1], row[2], row[3], row[4], row[5], row[6], row[7] = a, l, r, hl, hr, row[VERSION] + 1, sequence
  if with_hold then row.orders[order] = new_hold end
  return nil
end

local ids = {}
for i, request in ipairs(requests) do ids[i] = request[1] end
local here = redis.call('HMGET', ARGV[5] .. text(generation), unpack(ids))
local earlier = redis.call('HMGET', ARGV[5] .. text(generation - 1), unpack(ids))

local verdicts, notes, changes, done = {}, {}, 0, {}
for i, request in ipairs(requests) do
  local seen = here[i] or earlier[i]
  if seen then
    verdicts[i] = 's'
    notes[#notes + 1] = seen
  elseif request[2] ~= generation then
    verdicts[i] = 'l'
    notes[#notes + 1] = ''
  else
    local undo = #request[3] > 1 and {} or nil
    local why
    for n, change in ipairs(request[3]) do
      why = step(change, undo)
      if why then
        why = (n - 1) .. ' ' .. why
        break
      end
    end
    if why then
      for n = undo and #undo or 0, 1, -1 do
        local u = undo[n]
        local row = u[1]
        for f = 1, 7 do row[f] = u[4 + f] end
        if u[4] then row.orders[u[2]] = u[3] end
      end
      verdicts[i] = 'n'
      notes[#notes + 1] = why
    else
      verdicts[i] = 'y'
      changes = changes + #request[3]
      done[#done + 1] = request[1]
    end
  end
end

verdicts = table.concat(verdicts)
before = table.concat(before, ' ')
if changes > 0 then
  local after = {}
  for _, row in ipairs(rows) do
    for n = 1, 7 do after[#after + 1] = text(row[n]) end
  end
  -- First, because it is what a server without memory refuses.
  local id = redis.call('XADD', KEYS[1], '*', 'r', ARGV[3], 'q', ARGV[4], 'v', verdicts, 'b', before, 'a',
    table.concat(after, ' '), 'n', changes)
  for i, row in ipairs(rows) do
    if row[SEQUENCE] > row.first then
      redis.call('HSET', KEYS[2 + i], 'stock', text(row[1] + row[2] + row[3]), 'available_stock', text(row[1]),
        'locked_stock', text(row[2]), 'reserved_stock', text(row[3]), 'held_locked', text(row[4]),
        'held_reserved', text(row[5]), 'version', text(row[6]), 'sequence', text(row[7]))
      for order, hold in pairs(row.orders) do
        if hold and hold[5] > row.first then
          redis.call('HSET', KEYS[2 + i] .. ':holds', order, text(hold[1]) .. ' ' .. text(hold[2]) .. ' ' .. hold[3]
            .. ' ' .. text(hold[4]) .. ' ' .. text(hold[5]))
        end
      end
    end
  end
  local pairs_ = {}
  for i, name in ipairs(done) do
    pairs_[2 * i - 1], pairs_[2 * i] = name, id
  end
  redis.call('HSET', ARGV[5] .. text(generation), unpack(pairs_))
  redis.call('HINCRBY', KEYS[2], 'backlog', changes)
end
return {'done', text(generation), verdicts, before, notes}
