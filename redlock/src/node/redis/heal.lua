-- Gives a node back the keys of a lease that it has lost: all that are missing, or none.
-- Keys: n lock keys, then their fencing counters. Register: ttl in milliseconds. Arguments: value,
-- token.
-- Answers 1, or 0 where another value is in the way.
local value, token = ARGV[a], ARGV[a + 1]
local counters, set = {}, {}
reply = 1
for i = k, k + n - 1 do
  local holder = call('GET', KEYS[i])
  if holder and holder ~= value then
    reply = 0
  end
end
for i = k, k + n - 1 do
  local stored = reply == 1 and call('GET', KEYS[n + i])
  counters[i] = not stored and 0 or type(stored) == 'string' and tonumber(stored)
  if not counters[i] then
    reply = { 'BADCOUNTER ' .. KEYS[n + i] .. ' holds no token below 2^53' }
  end
end
for i = k, k + n - 1 do
  local answer = reply == 1 and call('SET', KEYS[i], value, 'NX', 'PX', ttl)
  if answer and answer.ok then
    set[#set + 1] = KEYS[i]
  end
  if reply == 1 and not (answer and answer.err) and counters[i] < tonumber(token) then
    answer = call('SET', KEYS[n + i], token, 'PX', COUNTER_TTL)
  end
  if answer and answer.err then
    reply = { answer.err }
  end
end
if reply ~= 1 then
  for _, key in ipairs(set) do
    call('DEL', key)
  end
end
k, a = k + 2 * n, a + 2
