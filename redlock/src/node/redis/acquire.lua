-- Sets every key to the claim's value, or none of them, and moves their counters to one number:
-- the top of a span of tokens that nobody else gets.
-- Keys: n lock keys, then their fencing counters. Registers: ttl in milliseconds, span. Arguments:
-- value, proposed top.
-- Answers -2 where the top is the proposed one, else the top as a string; or how many milliseconds the
-- first key in the way has to live (-1: for ever).
local value, top = ARGV[a], ARGV[a + 1]
local set = 0
while set < n do
  local answer = call('SET', KEYS[k + set], value, 'NX', 'PX', ttl)
  if not answer then
    local kind = call('TYPE', KEYS[k + set]).ok
    if kind == 'string' then
      reply = call('PTTL', KEYS[k + set])
    else
      reply = { 'WRONGTYPE the key holds no lock but a ' .. tostring(kind) }
    end
    break
  elseif answer.err then
    reply = { answer.err }
    break
  end
  set = set + 1
end
if not reply then
  for i = k + n, k + 2 * n - 1 do
    -- One command where the proposal will do, which it nearly always does.
    local stored = call('SET', KEYS[i], top, 'PX', COUNTER_TTL, 'GET')
    -- Of two numbers of as many digits the larger one is the larger text: no arithmetic in the usual case.
    if stored and (span > 1 or #stored ~= #top or stored >= top) then
      local counter = type(stored) == 'string' and tonumber(stored)
      local needed = counter and counter >= 0 and counter % 1 == 0 and counter + span
      if not needed or needed > MAX_TOKEN then
        if type(stored) == 'table' then
          reply = { stored.err .. ' at ' .. KEYS[i] }
        else
          call('SET', KEYS[i], stored, 'PX', COUNTER_TTL)
          reply = { 'BADCOUNTER ' .. KEYS[i] .. ' leaves no token below 2^53' }
        end
        break
      elseif needed > tonumber(top) then
        top = string.format('%.0f', needed)
        for j = k + n, i do
          call('SET', KEYS[j], top, 'PX', COUNTER_TTL)
        end
      end
    end
  end
end
if reply then
  for i = k, k + set - 1 do
    call('DEL', KEYS[i])
  end
elseif top == ARGV[a + 1] then
  reply = -2
else
  reply = top
end
k, a = k + 2 * n, a + 2
